package up

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lockPatience is how long to wait for the children of an `up` that was
// killed: they end as soon as they notice.
const lockPatience = 10 * time.Second

// dataDir is where everything of one `up` lives.
type dataDir struct {
	path string   // absolute
	lock *os.File // locked; nil where there are no locks
}

func (d *dataDir) file(name ...string) string {
	return filepath.Join(append([]string{d.path}, name...)...)
}

func (d *dataDir) git() string        { return d.file("git") }
func (d *dataDir) kubernetes() string { return d.file("kubernetes") }
func (d *dataDir) cache() string      { return d.file("cache") }
func (d *dataDir) logs() string       { return d.file("logs") }
func (d *dataDir) secrets() string    { return d.file("webhook-secrets") }
func (d *dataDir) state() string      { return d.file("up.json") }
func (d *dataDir) settings() string   { return d.file("settings.json") }

// openData makes the directory and takes its lock, which the children inherit:
// the directory is free again when the last process of an `up` has ended.
func openData(ctx context.Context, path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, problem("give the directory with --data", "data directory: %w", err)
	}
	d := &dataDir{path: path}
	for _, dir := range []string{d.path, d.git(), d.logs(), d.secrets()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, notWritable(err)
		}
		if err := tryWriting(dir); err != nil {
			return nil, notWritable(err)
		}
	}
	if d.lock, err = os.OpenFile(d.file("lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, notWritable(err)
	}
	if err := d.takeLock(ctx); err != nil {
		d.lock.Close()
		return nil, err
	}
	return d, nil
}

func notWritable(err error) error {
	return problem("choose a directory that you may write to with --data", "the data directory cannot be written: %w", err)
}

func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".try-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// takeLock fails at once if another `up` is alive, and is patient with what a
// dead one left.
func (d *dataDir) takeLock(ctx context.Context) error {
	patience := time.NewTimer(lockPatience)
	defer patience.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := tryLock(d.lock)
		if err == nil {
			break
		}
		pid := d.holder()
		if alive(pid) {
			return problem("end it, or choose another directory with --data",
				"%s is in use by another plumb up, process %d", d.path, pid)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-patience.C:
			return problem(fmt.Sprintf("see who has %s open, or choose another directory with --data", d.lock.Name()),
				"%s is still in use by what an earlier plumb up has left (%w)", d.path, err)
		}
	}
	if err := d.lock.Truncate(0); err != nil {
		return notWritable(err)
	}
	_, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	if err != nil {
		return notWritable(err)
	}
	return nil
}

// holder is the process that says in the lock file that it has it, 0 if none does.
func (d *dataDir) holder() int {
	text, err := os.ReadFile(d.lock.Name())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// inherited are the files that children keep open.
func (d *dataDir) inherited() []*os.File {
	if !canInherit {
		return nil
	}
	return []*os.File{d.lock}
}

func (d *dataDir) close() {
	os.Remove(d.state())
	d.lock.Close()
}

// settings is what the next `up` on the same data goes on with.
type settings struct {
	GitPort  int     `json:"gitPort,omitempty"`
	HTTPPort int     `json:"httpPort,omitempty"`
	Content  content `json:"content"`
}

func (d *dataDir) readSettings() (settings, error) {
	var s settings
	data, err := os.ReadFile(d.settings())
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, problem("remove the file to choose anew", "%s: %w", d.settings(), err)
	}
	return s, nil
}

func (d *dataDir) writeSettings(s settings) error {
	if err := writeJSON(d.settings(), s); err != nil {
		return notWritable(err)
	}
	return nil
}

// hookSecret is what pushes to the embedded Git server are signed with. It is
// made once, in the file that the engine reads.
func (d *dataDir) hookSecret() ([]byte, error) {
	path := filepath.Join(d.secrets(), "generic")
	if text, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(text))) >= 16 {
		return []byte(strings.TrimSpace(string(text))), nil
	}
	secret := rand.Text()
	if err := writeFile(path, []byte(secret+"\n")); err != nil {
		return nil, notWritable(err)
	}
	return []byte(secret), nil
}

// openLog opens a log for appending, and puts one that has grown large aside.
func (d *dataDir) openLog(name string) (*os.File, error) {
	const large = 16 << 20
	path := filepath.Join(d.logs(), name)
	if info, err := os.Stat(path); err == nil && info.Size() > large {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, notWritable(err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, notWritable(err)
	}
	return f, nil
}

func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile replaces a file in one step: a crash leaves the old or the new one.
func writeFile(path string, data []byte) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
