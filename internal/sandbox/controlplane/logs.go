package controlplane

import (
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
)

// maxLogSize bounds each of the two log files of a cluster, in bytes.
const maxLogSize = 8 << 20

// logToFile sends what Kubernetes logs to a file, warnings and errors only.
// The file of the run before is kept beside it, with the suffix .1.
func logToFile(path string) error {
	log := &rotatingFile{path: path}
	if err := log.rotate(); err != nil {
		return fmt.Errorf("log of Kubernetes: %w", err)
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("log of Kubernetes: %w", err)
		}
	}
	klog.SetOutputBySeverity("INFO", io.Discard)
	// klog writes a message to the outputs of all lower severities as well:
	// this one gets errors too.
	klog.SetOutputBySeverity("WARNING", log)
	klog.SetOutputBySeverity("ERROR", io.Discard)
	klog.SetOutputBySeverity("FATAL", io.Discard)
	// Connections of gRPC come and go; what matters of it is reported as an
	// error by those who use it.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, log))
	return nil
}

// rotatingFile is a file that is put aside when it has grown too big.
type rotatingFile struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int
}

func (r *rotatingFile) rotate() error {
	if r.file != nil {
		r.file.Close()
	}
	if err := os.Rename(r.path, r.path+".1"); err != nil && !os.IsNotExist(err) {
		return err
	}
	file, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	r.file, r.size = file, 0
	return nil
}

// Write writes a line of the log.
func (r *rotatingFile) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size+len(line) > maxLogSize {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	r.size += len(line)
	return r.file.Write(line)
}
