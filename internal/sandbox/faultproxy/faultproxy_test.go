package faultproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

const size = 64 << 10

// served is a proxy before a server that answers with size bytes and counts.
func served(t *testing.T, secure bool) (*Proxy, *http.Client, *atomic.Int64) {
	t.Helper()
	var count atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		w.Write(bytes.Repeat([]byte("x"), size))
	}))
	t.Cleanup(server.Close)
	var p *Proxy
	var err error
	if secure {
		p, err = ForCluster(&rest.Config{Host: server.URL})
	} else {
		p, err = ForURL(server.URL)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	transport := http.RoundTripper(&http.Transport{})
	if secure {
		if transport, err = rest.TransportFor(p.Config()); err != nil {
			t.Fatal(err)
		}
	}
	return p, &http.Client{Transport: transport, Timeout: 20 * time.Second}, &count
}

func get(client *http.Client, url string) (code, length int, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, len(body), err
}

func TestFaults(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, row := range []struct {
			name   string
			do     Action
			code   int
			length int // exact, or -1 for less than all
			fails  bool
			passed int64
		}{
			{"none", Action{}, 200, size, false, 1},
			{"answer", Answer(429, 2*time.Second), 429, -1, false, 0},
			{"reset", Reset(), 0, 0, true, 0},
			{"lose", Lose(), 0, 0, true, 1},
			{"cut", Cut(1000), 200, -1, true, 1},
			{"slow", Slow(10 * size), 200, size, false, 1},
		} {
			t.Run(map[bool]string{false: "http", true: "https"}[secure]+"/"+row.name, func(t *testing.T) {
				p, client, count := served(t, secure)
				if row.do.kind != pass {
					// A POST, which no client tries again by itself.
					p.Set(Fault{Do: row.do})
				}
				resp, err := client.Post(p.URL()+"/a", "text/plain", strings.NewReader("body"))
				code, length := 0, 0
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					code, length = resp.StatusCode, len(body)
				}
				if (err != nil) != row.fails || err == nil && code != row.code {
					t.Errorf("got %d, %v", code, err)
				}
				if row.length >= 0 && length != row.length || row.length < 0 && length >= size {
					t.Errorf("%d bytes", length)
				}
				if count.Load() != row.passed {
					t.Errorf("%d requests passed on, want %d", count.Load(), row.passed)
				}
				p.Clear()
				if code, length, err := get(client, p.URL()); code != 200 || length != size || err != nil {
					t.Errorf("after the fault: %d, %d bytes, %v", code, length, err)
				}
				if seen := p.Requests(); len(seen) < 2 || seen[0].String() != "POST /a" {
					t.Errorf("seen %v", seen)
				}
			})
		}
	}
}

func TestCounting(t *testing.T) {
	p, client, _ := served(t, false)
	p.Set(Fault{Match: Method("GET", "/x"), Every: 2, Times: 2, Do: Answer(500, 0)})
	var codes []int
	for range 6 {
		code, _, err := get(client, p.URL()+"/x")
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code)
	}
	for i, want := range []int{200, 500, 200, 500, 200, 200} {
		if codes[i] != want {
			t.Fatalf("got %v", codes)
		}
	}
}

// TestHang: what hangs lasts until the client gives up, or the fault ends.
func TestHang(t *testing.T) {
	for name, do := range map[string]Action{"hang": Hang(), "stall": Stall(1000)} {
		t.Run(name, func(t *testing.T) {
			p, client, _ := served(t, true)
			p.Set(Fault{Do: do})
			impatient := *client
			impatient.Timeout = 200 * time.Millisecond
			// When it gives up its connection is reset, and with it whatever else goes over that.
			apart := p.Config()
			apart.DisableCompression = true // client-go shares connections among equals
			var err error
			if impatient.Transport, err = rest.TransportFor(apart); err != nil {
				t.Fatal(err)
			}
			var late interface{ Timeout() bool }
			if _, _, err := get(&impatient, p.URL()); !errors.As(err, &late) || !late.Timeout() {
				t.Errorf("a client that gives up: %v", err)
			}
			failed := make(chan error, 1)
			p.Requests()
			go func() {
				_, _, err := get(client, p.URL())
				failed <- err
			}()
			eventually(t, func() bool { return len(p.Requests()) > 0 })
			p.Clear()
			if err := <-failed; err == nil || errors.As(err, &late) && late.Timeout() {
				t.Errorf("a client that waits: %v", err)
			}
		})
	}
}

func TestLine(t *testing.T) {
	p, client, _ := served(t, true)
	direct, err := ForTCP(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	for name, one := range map[string]struct {
		*Line
		url string
	}{"http": {p.Line, p.URL()}, "tcp": {direct.Line, "https://" + direct.Addr()}} {
		t.Run(name, func(t *testing.T) {
			if code, _, err := get(client, one.url); code != 200 {
				t.Fatal(code, err)
			}
			one.Freeze()
			answered := make(chan error, 1)
			go func() {
				code, _, err := get(client, one.url)
				if err == nil && code != 200 {
					err = errors.New("not served")
				}
				answered <- err
			}()
			quiet := time.NewTimer(300 * time.Millisecond)
			select {
			case err := <-answered:
				t.Fatalf("answered while frozen: %v", err)
			case <-quiet.C:
			}
			one.Thaw()
			if err := <-answered; err != nil {
				t.Errorf("after the thaw: %v", err)
			}
			one.Down()
			if _, _, err := get(client, one.url); err == nil {
				t.Error("served while down")
			}
			if one.Connections() > 0 {
				t.Errorf("%d connections while down", one.Connections())
			}
			if err := one.Up(); err != nil {
				t.Fatal(err)
			}
			if code, _, err := get(client, one.url); code != 200 {
				t.Errorf("up again: %d, %v", code, err)
			}
		})
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.NewTimer(20*time.Second)
	defer tick.Stop()
	defer end.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatal("timeout")
		}
	}
}
