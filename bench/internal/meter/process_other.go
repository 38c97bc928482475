//go:build !linux

package meter

import (
	"errors"
	"time"
)

// Usage is what processes have used. It can be told on Linux only.
type Usage struct {
	CPU       time.Duration
	RSS, Peak int64
}

var errLinux = errors.New("what a process uses can be told on Linux only")

// Read fails.
func Read(...int) (Usage, error) { return Usage{}, errLinux }

// Own fails.
func Own() (Usage, error) { return Usage{}, errLinux }

// ResetPeak fails.
func ResetPeak(...int) error { return errLinux }

// Load is not known.
func Load() float64 { return 0 }

// Scratch is the usual place for temporary files.
func Scratch() string { return "" }
