package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// through is a place whose connection goes through a proxy, and what it is told
// of the contact.
func through(t *testing.T) (place, *faultproxy.Proxy, <-chan bool) {
	t.Helper()
	p := newPlace(t)
	proxy, err := faultproxy.ForCluster(sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	contact := make(chan bool, 100)
	c, err := Connect(proxy.Config(), Options{Managers: managers, OnEvent: p.events.add, OnContact: func(up bool) { contact <- up }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p.Cluster = c
	return p, proxy, contact
}

// hears waits for the next news of the contact.
func hears(t *testing.T, contact <-chan bool, want bool) {
	t.Helper()
	patience := time.NewTimer(sandboxtest.Patience)
	defer patience.Stop()
	select {
	case up := <-contact:
		if up != want {
			t.Fatalf("the server is up: %v, want %v", up, want)
		}
	case <-patience.C:
		t.Fatalf("never told that the server is up: %v", want)
	}
}

// live reports whether everything is watched.
func (p place) live() bool {
	c := p.Condition()
	return !c.Down && c.Stale.IsZero() && len(c.Watches) > 0
}

// TestFrozen: a control plane that is stopped keeps its connections open and
// answers nothing. That is noticed, everything that waits for it ends, and what
// comes after fails without waiting; when it goes on, so does everything else.
func TestFrozen(t *testing.T) {
	t.Parallel()
	sb := sandboxtest.Start(t, sandbox.Options{})
	contact := make(chan bool, 100)
	p := placeIn(t, sb, "default")
	c, err := Connect(sandboxtest.RESTConfig(t, sb), Options{Managers: managers, OnEvent: p.events.add, OnContact: func(up bool) { contact <- up }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p.Cluster = c
	manifest := configMap("frozen", `a: "1"`)
	written := p.apply(manifest)
	p.follow(p.ref("ConfigMap", "frozen"))
	p.eventually("everything is watched", p.live)

	if err := syscall.Kill(sb.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(sb.PID, syscall.SIGCONT) })
	p.eventually("it stands still", func() bool { return still(sb.PID) })
	ended := make(chan error)
	const waiting = 40 // more than may be in flight
	for i := range waiting {
		go func() {
			_, err := p.Self().Apply(t.Context(), p.object(configMap(fmt.Sprintf("waits-%d", i))), plan.WriteOptions{Manager: manager})
			ended <- err
		}()
	}
	for range waiting {
		if f := app.AsFailure(<-ended, ""); f == nil || f.Reason != app.ReasonClusterDown || f.Retry.After == 0 {
			t.Errorf("a write that was under way: %v", f)
		}
	}
	hears(t, contact, false)
	if c := p.Condition(); !c.Down || c.Err == nil || c.Since.IsZero() || c.Stale.IsZero() || c.Contact.IsZero() {
		t.Errorf("while it is frozen: %+v", c)
	}
	_, err = p.Self().Observe(t.Context(), p.query(0, manifest))
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonClusterDown || f.Stage != app.StageObserve || !strings.Contains(f.Error(), "does not answer since") {
		t.Errorf("observed while it is frozen: %v", err)
	}

	if err := syscall.Kill(sb.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	hears(t, contact, true)
	p.eventually("everything is watched again", p.live)
	p.observe(p.query(0, manifest))
	p.kubectl("", "patch", "configmap", "frozen", "--type=merge", "-p", `{"data":{"a":"9"}}`)
	if live := p.current(p.ref("ConfigMap", "frozen")); live.Owned == written.Owned {
		t.Error("drift after the frost was not seen")
	}
}

// still reports whether all threads of a process stand still: a signal to stop
// comes to some of them later than others. Where that cannot be read, it is so.
func still(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		_, state, ok := strings.Cut(string(data), ") ") // after the name in brackets
		if err == nil && ok && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// TestAttentive: connections are pinged whoever makes them.
func TestAttentive(t *testing.T) {
	config := &rest.Config{Host: "https://127.0.0.1:1", Dial: (&net.Dialer{}).DialContext}
	c, err := Connect(config, Options{Managers: managers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	rt := c.gate.next
	for {
		wrapper, ok := rt.(utilnet.RoundTripperWrapper)
		if !ok {
			break
		}
		rt = wrapper.WrappedRoundTripper()
	}
	at, ok := rt.(*http.Transport)
	if !ok || at.HTTP2 == nil || at.HTTP2.SendPingTimeout != pingAfter || at.TLSHandshakeTimeout != handshakeFor {
		t.Errorf("%T %+v", rt, at)
	}
}

// TestHangs: a server behind something that keeps the connection in good health
// (a load balancer), and hangs.
func TestHangs(t *testing.T) {
	t.Parallel()
	p, proxy, contact := through(t)
	p.apply(configMap("a"))
	proxy.Set(faultproxy.Fault{Do: faultproxy.Hang()})
	_, err := p.Self().Apply(t.Context(), p.object(configMap("b")), plan.WriteOptions{Manager: manager})
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonClusterDown || f.Retry.After == 0 {
		t.Errorf("a write to a server that hangs: %v", err)
	}
	hears(t, contact, false)
	proxy.Clear()
	hears(t, contact, true)
	p.apply(configMap("b"))
}

// TestWatchesGoOn: a watch that ends, or whose connection does, goes on where
// it was, and has missed nothing; what is remembered is not asked for anew.
func TestWatchesGoOn(t *testing.T) {
	p, proxy, contact := through(t)
	manifest, ref := configMap("a", `a: "1"`), p.ref("ConfigMap", "a")
	p.follow(ref)
	written := p.apply(manifest)
	p.current(ref)
	for name, ends := range map[string]func() (starts func()){
		"ended": func() func() { proxy.EndWatches(); return nil },
		"reset": func() func() { proxy.ResetConnections(); return nil },
		"server away": func() func() {
			proxy.Down()
			hears(t, contact, false)
			if _, err := p.Get(t.Context(), ref); app.AsFailure(err, "").Reason != app.ReasonClusterDown {
				t.Errorf("a read while the server is away: %v", err)
			}
			return func() {
				if err := proxy.Up(); err != nil {
					t.Fatal(err)
				}
				hears(t, contact, true)
			}
		},
	} {
		// The watch has told something: one that did not, and ended within a
		// second, is begun anew with a list.
		p.kubectl("", "annotate", "configmap", "a", "--overwrite", "x="+fmt.Sprint(len(name)))
		p.current(ref)
		proxy.Requests()
		starts := ends()
		p.kubectl("", "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"a":"`+name+`"}}`)
		if starts != nil {
			starts()
		}
		p.eventually("drift is seen after the watch was "+name, func() bool {
			live, _ := p.Live(ref, manager)
			return live.Owned != written.Owned
		})
		watched := 0
		for _, r := range proxy.Requests() {
			if !strings.HasSuffix(r.Path, "/configmaps") {
				continue
			}
			watched++
			if strings.Contains(r.Query, "sendInitialEvents") || !strings.Contains(r.Query, "watch=true") {
				t.Errorf("%s: listed again: %s?%s", name, r, r.Query)
			}
		}
		if watched == 0 {
			t.Errorf("%s: the watch did not end", name)
		}
		written = p.apply(manifest)
		p.current(ref)
	}
}

// TestResend: what passes by itself harms no request, and what was done is told
// as it was, whether its answer arrived or not.
func TestResend(t *testing.T) {
	patch, all := faultproxy.Method("PATCH", "/configmaps/"), faultproxy.Writes
	for _, row := range []struct {
		name     string
		fault    faultproxy.Fault
		requests int
		reason   app.Reason // "" if it succeeds
	}{
		{"too many requests", faultproxy.Fault{Match: patch, Times: 2, Do: faultproxy.Answer(429, time.Second)}, 3, ""},
		{"too many requests, unsaid for how long", faultproxy.Fault{Match: patch, Times: 4, Do: faultproxy.Answer(429, 0)}, 5, ""},
		{"too many requests for a minute", faultproxy.Fault{Match: patch, Do: faultproxy.Answer(429, time.Minute)}, 1, app.ReasonClusterDown},
		{"unavailable", faultproxy.Fault{Match: patch, Times: 1, Do: faultproxy.Answer(503, 0)}, 2, ""},
		{"internal error", faultproxy.Fault{Match: patch, Times: 2, Do: faultproxy.Answer(500, 0)}, 3, ""},
		{"internal error for ever", faultproxy.Fault{Match: all, Do: faultproxy.Answer(500, 0)}, 3, app.ReasonInternal},
		{"reset", faultproxy.Fault{Match: patch, Times: 1, Do: faultproxy.Reset()}, 2, ""},
		{"answer lost", faultproxy.Fault{Match: patch, Times: 1, Do: faultproxy.Lose()}, 2, ""},
		{"answer cut", faultproxy.Fault{Match: patch, Times: 1, Do: faultproxy.Cut(20)}, 2, ""},
		{"forbidden", faultproxy.Fault{Match: patch, Do: faultproxy.Answer(403, 0)}, 1, app.ReasonForbidden},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, proxy, _ := through(t)
			ref := p.ref("ConfigMap", "a")
			p.follow(ref)
			proxy.Requests()
			proxy.Set(row.fault)
			written, err := p.Self().Apply(t.Context(), p.object(configMap("a", `a: "1"`)), plan.WriteOptions{Manager: manager})
			proxy.Clear()
			sent := 0
			for _, r := range proxy.Requests() {
				if r.Method == http.MethodPatch {
					sent++
				}
			}
			if sent != row.requests {
				t.Errorf("%d requests, want %d", sent, row.requests)
			}
			if row.reason != "" {
				f := app.AsFailure(err, "")
				if f == nil || f.Reason != row.reason {
					t.Fatalf("got %v, want %s", err, row.reason)
				}
				if row.fault.Do == faultproxy.Answer(429, time.Minute) && f.Retry.After != time.Minute {
					t.Errorf("to be tried again after %s", f.Retry.After)
				}
				return
			}
			if err != nil || !written.Created || !written.Changed {
				t.Fatalf("%+v, %v", written, err)
			}
			if live := p.current(ref); live.Owned != written.Owned {
				t.Errorf("remembered %s, written %s", live.Owned, written.Owned)
			}
			if told := p.events.of(ref); len(told) > 0 {
				t.Errorf("the write was told as somebody else's: %+v", told)
			}
			if _, err := p.Self().Delete(t.Context(), ref, "v1", written.UID, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDeleteResent: a deletion of which the answer was lost is done.
func TestDeleteResent(t *testing.T) {
	p, proxy, _ := through(t)
	written := p.apply(configMap("a"))
	proxy.Set(faultproxy.Fault{Match: faultproxy.Method("DELETE", ""), Times: 1, Do: faultproxy.Lose()})
	if _, err := p.Self().Delete(t.Context(), p.ref("ConfigMap", "a"), "v1", written.UID, ""); err != nil {
		t.Error(err)
	}
	if err := p.WaitGone(t.Context(), []object.Ref{p.ref("ConfigMap", "a")}); err != nil {
		t.Error(err)
	}
}

// TestCallerGivesUp: that a caller does not want to wait says nothing about the
// server.
func TestCallerGivesUp(t *testing.T) {
	p, proxy, _ := through(t)
	p.apply(configMap("a"))
	proxy.Set(faultproxy.Fault{Match: faultproxy.Method("GET", "/configmaps/a"), Do: faultproxy.Hang()})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Get(ctx, p.ref("ConfigMap", "a")); app.AsFailure(err, "").Reason != app.ReasonTimeout {
		t.Error(err)
	}
	if c := p.Condition(); c.Err != nil || c.Down {
		t.Errorf("%+v", c)
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(8)
		held := 0
		take := func(want int) {
			t.Helper()
			for {
				select {
				case <-l.tokens:
					held++
					continue
				default:
				}
				break
			}
			if held != want {
				t.Errorf("%d in flight, want %d", held, want)
			}
		}
		give := func(n int) {
			for range n {
				l.give()
				held--
			}
		}
		take(8)
		l.slow()
		l.slow() // the same overload
		give(8)
		take(4)
		<-time.After(2 * time.Second) // of the bubble
		l.slow()
		give(4)
		take(2)
		for range 2 {
			l.answered()
		}
		take(3)
		for range 100 {
			l.answered()
		}
		take(8)
		for range 20 {
			<-time.After(2 * time.Second)
			l.slow()
		}
		give(8)
		take(1)
		if l.now() != 1 {
			t.Errorf("the limit is %d", l.now())
		}
	})
}
