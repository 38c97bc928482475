//go:build !unix

package sandboxtest

// lock has no lock to offer here: test packages may build side by side.
func lock(string) (unlock func(), err error) { return func() {}, nil }
