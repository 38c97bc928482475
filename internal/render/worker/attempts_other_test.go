//go:build !linux

package worker

func systemAttempts() map[string]func() error { return nil }

func landlockOnly() (confined, missing []string, err error) { return nil, []string{"landlock"}, nil }
