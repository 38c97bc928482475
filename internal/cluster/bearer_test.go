package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
)

// door lets in whoever has one of its tokens, and notes what is said to it.
type door struct {
	mu     sync.Mutex
	opens  map[string]bool
	heard  []string
	bodies []string
}

func (d *door) RoundTrip(req *http.Request) (*http.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	said := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	d.heard = append(d.heard, said)
	if req.Body != nil {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body.Close()
		d.bodies = append(d.bodies, string(data))
	}
	status := http.StatusUnauthorized
	if d.opens[said] {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// mint makes tokens t1, t2, … of an hour, or fails.
type mint struct {
	mu   sync.Mutex
	made int
	err  error
	hold chan struct{} // if set, nothing is made before it is closed
}

func (m *mint) token(ctx context.Context) (Token, error) {
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	return Token{Bearer: fmt.Sprintf("t%d", m.made), Life: time.Hour}, m.err
}

// knock makes a request with a body, and gives the status.
func knock(t *testing.T, rt http.RoundTripper, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://far", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if req.Header.Get("Authorization") != "" {
		t.Error("the request of the caller was changed")
	}
	return resp.StatusCode
}

func bubble(t *testing.T, f func(t *testing.T, d *door, m *mint, b *bearer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d, m := &door{opens: map[string]bool{"t1": true, "t2": true, "t3": true}}, &mint{}
		f(t, d, m, &bearer{next: d, ctx: t.Context(), ask: m.token, spawn: func(f func()) { go f() }})
	})
}

func said(t *testing.T, d *door, want string) {
	t.Helper()
	if got := strings.Join(d.heard, " "); got != want {
		t.Fatalf("said %s, want %s", got, want)
	}
}

// TestTokenIsRenewed: a token serves for four fifths of its life. Then another
// is asked for, and nothing waits for that.
func TestTokenIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, d *door, m *mint, b *bearer) {
		knock(t, b, "")
		<-time.After(47 * time.Minute)
		knock(t, b, "")
		said(t, d, "t1 t1")

		m.hold = make(chan struct{})
		<-time.After(2 * time.Minute)
		knock(t, b, "")
		knock(t, b, "")
		said(t, d, "t1 t1 t1 t1")
		close(m.hold)
		synctest.Wait()
		knock(t, b, "")
		said(t, d, "t1 t1 t1 t1 t2")
		if m.made != 2 {
			t.Errorf("%d tokens were made", m.made)
		}
	})
}

// An expired one is not used; those who come meanwhile wait for one and the same.
func TestTokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T, d *door, m *mint, b *bearer) {
		knock(t, b, "")
		m.hold = make(chan struct{})
		<-time.After(time.Hour)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { knock(t, b, "") })
		}
		synctest.Wait()
		said(t, d, "t1")
		close(m.hold)
		all.Wait()
		said(t, d, "t1 t2 t2 t2")
	})
}

// TestTokenIsRefused: what the server refuses is replaced, and the request made
// again with all it holds. One that was just made is not.
func TestTokenIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, d *door, m *mint, b *bearer) {
		knock(t, b, "")
		<-time.After(time.Minute)
		delete(d.opens, "t1")
		if status := knock(t, b, "what is said"); status != http.StatusOK {
			t.Fatalf("HTTP %d", status)
		}
		said(t, d, "t1 t1 t2")
		if last := d.bodies[len(d.bodies)-1]; last != "what is said" {
			t.Errorf("the second attempt said %q", last)
		}

		d.opens = nil
		for range 20 {
			if status := knock(t, b, ""); status != http.StatusUnauthorized {
				t.Fatalf("HTTP %d", status)
			}
		}
		if m.made != 2 {
			t.Errorf("%d tokens were made for a server that takes none", m.made)
		}
		<-time.After(tokenYoung)
		knock(t, b, "")
		if m.made != 3 {
			t.Errorf("%d tokens were made", m.made)
		}
	})
}

// TestNoToken: if there is none to be had, that is said, and not asked for all
// the time; one that still counts is used on. It is nothing that the server
// could have done.
func TestNoToken(t *testing.T) {
	bubble(t, func(t *testing.T, d *door, m *mint, b *bearer) {
		knock(t, b, "")
		m.err = app.Fail(app.StageObserve, app.ReasonForbidden, "no more tokens")
		<-time.After(50 * time.Minute)
		for range 5 {
			knock(t, b, "")
			synctest.Wait()
		}
		said(t, d, "t1 t1 t1 t1 t1 t1")
		if m.made != 2 {
			t.Errorf("asked %d times", m.made)
		}

		<-time.After(10 * time.Minute)
		refused := func() {
			t.Helper()
			suspected := false
			g := &gate{next: b, limit: newLimiter(1), breaker: &breaker{closing: t.Context().Done(), spawn: func(func()) { suspected = true }}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://far", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = g.RoundTrip(req)
			var f *app.Failure
			if !errors.As(err, &f) || f.Reason != app.ReasonForbidden || suspected {
				t.Fatalf("%v, suspected %t", err, suspected)
			}
			if _, again := resend(err, 0); again {
				t.Error("the request is made again at once")
			}
		}
		for range 5 {
			refused()
		}
		said(t, d, "t1 t1 t1 t1 t1 t1")
		if m.made != 3 {
			t.Errorf("asked %d times", m.made)
		}
		m.err = nil
		<-time.After(tokenPause)
		knock(t, b, "")
		if got := d.heard[len(d.heard)-1]; got != "t4" && m.made != 4 {
			t.Errorf("said %s", got)
		}
	})
}

// A connection that is closed asks for nothing, and does not wait.
func TestNoTokenWhenClosed(t *testing.T) {
	bubble(t, func(t *testing.T, d *door, m *mint, b *bearer) {
		ctx, cancel := context.WithCancel(t.Context())
		b.ctx = ctx
		m.hold = make(chan struct{})
		ended := make(chan error, 1)
		ask := func() {
			_, err := b.get(t.Context())
			ended <- err
		}
		go ask()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-time.After(tokenPause)
		go ask()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTokenIsNotShown(t *testing.T) {
	token := Token{Bearer: "eyJh-c4n4ry", Life: time.Hour}
	data, err := token.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s %v %s", token, token, token, token, []Token{token}, data) + token.LogValue().String(); strings.Contains(shown, "c4n4ry") {
		t.Error(shown)
	}
}
