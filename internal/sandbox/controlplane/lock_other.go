//go:build !unix

package controlplane

import "os"

// lockFile has no lock to offer here; two control planes on one directory
// then fail on etcd's own.
func lockFile(*os.File) error { return nil }
