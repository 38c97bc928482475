//go:build !unix

package cli

// tryLock has no lock to offer here: the cache is not used.
func tryLock(string) (unlock func(), ok bool) { return nil, false }
