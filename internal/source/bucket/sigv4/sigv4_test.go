package sigv4

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The examples of the documentation of S3, as far as they sign the same
// headers: listing the objects of a bucket.
func TestDocumentedExample(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", nil)
	if err != nil {
		t.Fatal(err)
	}
	Sign(req, nil, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1",
		time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	const want = "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
	if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, want) {
		t.Errorf("got %s", got)
	}
}

func TestEscape(t *testing.T) {
	if got := Escape("a/b c+ü~", true); got != "a/b%20c%2B%C3%BC~" {
		t.Error(got)
	}
	if got := Escape("a/b", false); got != "a%2Fb" {
		t.Error(got)
	}
}
