package worker

import (
	"os"
	"testing"
)

// asWorker makes the test binary a child of a pool.
const asWorker = "render-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asWorker {
		os.Exit(Main(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// newPool makes a pool that ends with the test.
func newPool(tb testing.TB, opts Options) *Pool {
	tb.Helper()
	opts.Args = []string{asWorker}
	p := New(opts)
	tb.Cleanup(p.Close)
	return p
}
