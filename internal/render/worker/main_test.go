package worker

import (
	"os"
	"testing"
	"time"
)

// asWorker makes the test binary a child of a pool.
const asWorker = "render-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asWorker {
		os.Exit(Main(os.Stdin, os.Stdout))
	}
	switch {
	case len(os.Args) == 5 && os.Args[1] == asProbe:
		probe(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 2 && os.Args[1] == asParent:
		parent()
	default:
		os.Exit(m.Run())
	}
}

// newPool makes a pool that ends with the test.
func newPool(tb testing.TB, opts Options) *Pool {
	tb.Helper()
	opts.Args = []string{asWorker}
	p := New(opts)
	tb.Cleanup(p.Close)
	return p
}

// eventually waits for what another process brings about.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it did not come about")
		}
	}
}
