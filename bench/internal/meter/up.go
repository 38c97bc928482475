package meter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Up is a `plumb up --no-sample` that was started to be measured.
type Up struct {
	State
	cmd *exec.Cmd
}

// State is what `plumb up -o json` prints, and keeps in up.json.
type State struct {
	Kubeconfig string `json:"kubeconfig"`
	Git        string `json:"git"`
	HTTP       string `json:"http"`
	Data       string `json:"data"`
	PIDs       struct {
		Engine     int `json:"engine"`
		Kubernetes int `json:"kubernetes"`
	} `json:"pids"`
}

// StartUp starts a plumb binary with its data in dir and further flags, and returns when it is
// ready. What it says is in dir/up.log.
func StartUp(ctx context.Context, binary, dir string, more ...string) (*Up, error) {
	args := append([]string{"up", "-o", "json", "--no-sample", "--data", filepath.Join(dir, "data")}, more...)
	cmd := exec.CommandContext(ctx, binary, args...)
	log, err := os.Create(filepath.Join(dir, "up.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	u := &Up{cmd: cmd}
	if err := json.NewDecoder(out).Decode(&u.State); err != nil {
		u.Stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("plumb up did not become ready: %w\n%s", err, said)
	}
	return u, nil
}

// Now is where everything is now: a child that ended has come back as another
// process.
func (u *Up) Now() (State, error) {
	var s State
	data, err := os.ReadFile(filepath.Join(u.Data, "up.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// Stop ends it, and waits for that.
func (u *Up) Stop() {
	// A process that has ended by itself cannot be told to.
	if err := u.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	_ = u.cmd.Wait() // how it ended is of no interest
}
