// Package sigv4 signs requests to S3-compatible stores with AWS Signature
// Version 4, as the documentation of S3 describes it ("Authenticating Requests:
// Using the Authorization Header"). It is pure.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sign adds the signature to a request with a body, which may be nil. Path and
// query of the request must be as Escape gives them; no other header is
// signed than the host and those that Sign adds.
func Sign(req *http.Request, body []byte, accessKey, secretKey, region string, now time.Time) {
	content := hexSum(body)
	at := now.UTC().Format("20060102T150405Z")
	day := at[:8]
	req.Header.Set("X-Amz-Date", at)
	req.Header.Set("X-Amz-Content-Sha256", content)
	const signed = "host;x-amz-content-sha256;x-amz-date"
	query := strings.Split(req.URL.RawQuery, "&")
	slices.Sort(query)
	canonical := strings.Join([]string{
		req.Method,
		req.URL.EscapedPath(),
		strings.Join(query, "&"),
		"host:" + req.URL.Host,
		"x-amz-content-sha256:" + content,
		"x-amz-date:" + at,
		"",
		signed,
		content,
	}, "\n")
	scope := day + "/" + region + "/s3/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + at + "\n" + scope + "\n" + hexSum([]byte(canonical))
	key := []byte("AWS4" + secretKey)
	for _, part := range []string{day, region, "s3", "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+accessKey+"/"+scope+
		", SignedHeaders="+signed+", Signature="+hex.EncodeToString(key))
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Escape encodes all characters but those that a signature leaves as they are,
// and the slash of a path.
func Escape(text string, path bool) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}
