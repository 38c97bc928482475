package up

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"plumb.dev/plumb/internal/sandbox/gitserver"
)

// startGit serves the repositories of the data directory, at the port where
// they were before: their address is written in resources and clones.
func startGit(data *dataDir, asked, before int, pushed func(name string)) (*gitserver.Server, error) {
	server, err := gitserver.New(gitserver.Options{Dir: data.git(), OnPush: pushed})
	if err != nil {
		return nil, problem("git serves the repositories; --data is where they are", "%w", err)
	}
	port, err := choosePort("the Git server", "--git-port", asked, before)
	if err != nil {
		return nil, err
	}
	if err := server.Start(port); err != nil {
		return nil, problem("--git-port chooses another port", "%w", err)
	}
	return server, nil
}

// choosePort takes the port that is asked for, or the one of before, or 0 for
// any. It fails if somebody listens there.
func choosePort(who, flag string, asked, before int) (int, error) {
	port := asked
	if port == 0 {
		port = before
	}
	if port == 0 {
		return 0, nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && asked == 0:
		return 0, problem("free it, or choose another with "+flag, "port %d of 127.0.0.1, where %s was before, is taken", port, who)
	case errors.Is(err, syscall.EADDRINUSE):
		return 0, problem("free it, or choose another with "+flag, "port %d of 127.0.0.1, for %s, is taken", port, who)
	case err != nil:
		return 0, problem(flag+" chooses another port", "port %d, for %s: %w", port, who, err)
	}
	return port, listener.Close()
}

// hook tells the engine of pushes, so that it need not wait for its next look.
type hook struct {
	secret []byte
	client http.Client

	mu      sync.Mutex
	address string          // of the engine; "" while it is not there
	missed  map[string]bool // URLs of pushes that it has not been told of
}

func newHook(secret []byte) *hook {
	return &hook{secret: secret, client: http.Client{Timeout: 10 * time.Second}, missed: map[string]bool{}}
}

// engineAt says where the engine is, or "" that it is not. What it missed is
// told.
func (h *hook) engineAt(ctx context.Context, address string) {
	h.mu.Lock()
	h.address = address
	var urls []string
	if address != "" {
		for url := range h.missed {
			urls = append(urls, url)
		}
		clear(h.missed)
	}
	h.mu.Unlock()
	for _, url := range urls {
		h.pushed(ctx, url)
	}
}

// pushed tells of a push to a repository, now or when the engine is back.
func (h *hook) pushed(ctx context.Context, url string) {
	for range 2 { // the first may meet a connection to an engine that is gone
		h.mu.Lock()
		address := h.address
		if address == "" {
			h.missed[url] = true
		}
		h.mu.Unlock()
		if address == "" || h.post(ctx, address, url) == nil {
			return
		}
	}
	h.mu.Lock()
	h.missed[url] = true
	h.mu.Unlock()
}

func (h *hook) post(ctx context.Context, address, url string) error {
	body, err := json.Marshal(map[string]string{"url": url})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/hooks/push", bytes.NewReader(body))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Plumb-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	response, err := h.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("the engine answered %s", response.Status)
	}
	return nil
}

// portOf is the port of an address http://HOST:PORT, 0 if it has none.
func portOf(address string) int {
	u, err := url.Parse(address)
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return 0
	}
	return port
}
