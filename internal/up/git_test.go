package up

import (
	"net/http/httptest"
	"testing"

	"plumb.dev/plumb/internal/source/webhook"
)

// Pushes reach the engine signed; those that it missed, when it is back.
func TestHook(t *testing.T) {
	told := make(chan webhook.Push, 10)
	engine := httptest.NewServer(webhook.Handler(
		func() webhook.Secrets { return webhook.Secrets{Generic: []string{"secret"}} },
		func(p webhook.Push) { told <- p }))
	defer engine.Close()
	const one, two = "http://127.0.0.1:1/one.git", "http://127.0.0.1:1/two.git"

	h := newHook([]byte("secret"))
	h.pushed(t.Context(), one) // not there yet
	h.engineAt(t.Context(), engine.URL)
	h.pushed(t.Context(), two)
	for _, want := range []string{one, two} {
		if p := <-told; !p.Verified || len(p.URLs) != 1 || p.URLs[0] != want {
			t.Errorf("told of %v (verified: %v), want %s", p.URLs, p.Verified, want)
		}
	}

	h.engineAt(t.Context(), "http://127.0.0.1:1") // nobody is there
	h.pushed(t.Context(), two)
	h.engineAt(t.Context(), "")
	h.engineAt(t.Context(), engine.URL)
	if p := <-told; p.URLs[0] != two {
		t.Errorf("told of %v, want %s", p.URLs, two)
	}
	if len(told) > 0 {
		t.Errorf("told of %v too", (<-told).URLs)
	}
	if err := newHook([]byte("wrong")).post(t.Context(), engine.URL, one); err == nil {
		t.Error("the engine takes a wrong signature")
	}
}

func TestRemote(t *testing.T) {
	for text, want := range map[string]string{
		"https://example.com/a/b.git":      "https://example.com/a/b.git",
		"git@example.com:a/b.git":          "ssh://git@example.com/a/b.git",
		"ssh://git@example.com:2222/b.git": "ssh://git@example.com:2222/b.git",
		"http://127.0.0.1:3000/x.git":      "http://127.0.0.1:3000/x.git",
		"https://token@example.com/a":      "",
		"file:///srv/a":                    "",
		"gopher://example.com/a":           "",
	} {
		got, err := remote(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q (%v), want %q", text, got, err, want)
		}
	}
}
