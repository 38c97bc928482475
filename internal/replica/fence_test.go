package replica

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

func TestFence(t *testing.T) {
	now := time.Second
	f := newFence(func() time.Duration { return now })
	near, far := net.Pipe()
	dialed := 0
	dial := f.Behind(func(context.Context, string, string) (net.Conn, error) {
		dialed++
		return near, nil
	})
	if _, err := dial(t.Context(), "tcp", "x"); !errors.Is(err, ErrFenced) || dialed > 0 {
		t.Fatalf("a fence that was never opened: %v, %d dialed", err, dialed)
	}
	f.begin()
	f.extend(now + 4*time.Second)
	conn, err := dial(t.Context(), "tcp", "x")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		data, _ := io.ReadAll(far)
		got <- string(data)
	}()
	now += 3 * time.Second
	if _, err := conn.Write([]byte("in time")); err != nil {
		t.Errorf("in time: %v", err)
	}
	now += time.Second
	if _, err := conn.Write([]byte(", late")); !errors.Is(err, ErrFenced) {
		t.Errorf("late: %v", err)
	}
	if text := <-got; text != "in time" { // and the connection is closed
		t.Errorf("got through: %q", text)
	}
	f.extend(now + 4*time.Second)
	if since, open := f.opened(); !open || since != now {
		t.Errorf("renewed: open %v since %s", open, since)
	}
	f.end()
	f.extend(now + 8*time.Second)
	if f.Open() {
		t.Error("a renewal opens what was closed for good")
	}
}

func TestLeaseName(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"plumb-7d4b9c-x2x", "host.example-1f2e", "Host.example-1f2e", "a..b", "a.-b", "ä", "", "-", "with space", "x/y"} {
		name := leaseName(id)
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q are both %s", id, other, name)
		}
		seen[name] = id
	}
	if got := leaseName("plumb-7d4b9c-x2x"); got != "plumb-plumb-7d4b9c-x2x" {
		t.Errorf("got %s", got)
	}
}

func TestClockGoesOn(t *testing.T) {
	a := sinceBoot()
	for sinceBoot() == a {
		continue
	}
	if b := sinceBoot(); b < a {
		t.Errorf("%s, then %s", a, b)
	}
}
