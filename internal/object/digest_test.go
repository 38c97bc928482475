package object

import "testing"

// What a digest of a Secret tells depends on a key; the objects that anyone may
// read are compared without one, by commands that do not have it.
func TestDigestOfASecretIsKeyed(t *testing.T) {
	content := func(kind, value string) Object {
		return New(map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": "x"}, "data": map[string]any{"pin": value}}, Origin{})
	}
	secret := content("Secret", "MTIzNA==")
	one, other := secret.Keyed([]byte("key one")), secret.Keyed([]byte("key two"))
	if one.Digest() == secret.Digest() || one.Digest() == other.Digest() {
		t.Error("the key makes no difference")
	}
	if one.Digest() != one.Copy().Digest() {
		t.Error("a copy has another digest")
	}
	if one.Digest() == content("Secret", "MTIzNQ==").Keyed([]byte("key one")).Digest() {
		t.Error("another value has the same digest")
	}
	open := content("ConfigMap", "MTIzNA==")
	if open.Keyed([]byte("key one")).Digest() != open.Digest() {
		t.Error("the digest of a ConfigMap is keyed")
	}
}
