package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// maxAdvertisement bounds the refs a server may list, in bytes; a million refs
// with names of sixty bytes stay below it.
const maxAdvertisement = 128 << 20

// errNothing says that the server closed without a word.
var errNothing = errors.New("the server sent nothing")

// readListing decodes a ref advertisement.
func readListing(r io.Reader) (*Listing, error) {
	limited := &io.LimitedReader{R: r, N: maxAdvertisement}
	adv := packp.NewAdvRefs()
	err := adv.Decode(limited)
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
	case errors.Is(err, packp.ErrEmptyInput):
		return nil, errNothing
	case err != nil && limited.N <= 0:
		return nil, fmt.Errorf("the list of refs exceeds %d MiB", maxAdvertisement>>20)
	case err != nil:
		return nil, serverWords(err)
	}
	if f := adv.Capabilities.Get(capability.Capability("object-format")); len(f) == 1 && f[0] != "sha1" {
		return nil, fmt.Errorf("repositories with %s object ids are not supported", clean(f[0]))
	}
	l := &Listing{Refs: make(map[string]Ref, len(adv.References)), caps: adv.Capabilities}
	for name, id := range adv.References {
		l.Refs[name] = Ref{ID: id, Peeled: adv.Peeled[name]}
	}
	if adv.Head != nil {
		l.Head = *adv.Head
	}
	for _, s := range adv.Capabilities.Get(capability.SymRef) {
		if target, ok := strings.CutPrefix(s, "HEAD:"); ok {
			l.HeadRef = target
		}
	}
	l.guessHead()
	return l, nil
}

// guessHead finds the branch behind HEAD for servers that do not tell it.
func (l *Listing) guessHead() {
	if l.HeadRef != "" || l.Head.IsZero() {
		return
	}
	for _, name := range []string{"refs/heads/main", "refs/heads/master"} {
		if l.Refs[name].ID == l.Head {
			l.HeadRef = name
			return
		}
	}
}

// newRequest asks for wants, saying what is had already.
func newRequest(l *Listing, wants, haves []plumbing.Hash) *packp.UploadPackRequest {
	req := packp.NewUploadPackRequest()
	req.Wants, req.Haves = wants, haves
	caps := []capability.Capability{
		capability.MultiACKDetailed, // some servers insist on it (Azure DevOps)
		capability.Sideband64k, capability.OFSDelta, capability.NoProgress,
	}
	if len(haves) > 0 { // of a large directory only what changed is sent
		caps = append(caps, capability.ThinPack)
	}
	for _, c := range caps {
		if l.caps != nil && l.caps.Supports(c) {
			_ = req.Capabilities.Set(c) // fails only for capabilities with arguments
		}
	}
	return req
}

// writeRequest sends the whole negotiation at once: one round trip, at the
// price of a few commits too many when the server knows none of the haves.
func writeRequest(w io.Writer, req *packp.UploadPackRequest) error {
	var b bytes.Buffer
	if err := req.UploadRequest.Encode(&b); err != nil {
		return err
	}
	if err := req.UploadHaves.Encode(&b, false); err != nil {
		return err
	}
	if err := pktline.NewEncoder(&b).EncodeString("done\n"); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// readPack reads the server's answer and passes the pack on.
func readPack(ctx context.Context, r io.ReadCloser, req *packp.UploadPackRequest, install Install) error {
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(r); err != nil {
		return serverWords(err)
	}
	defer res.Close()
	var pack io.Reader = res
	if req.Capabilities.Supports(capability.Sideband64k) {
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	}
	src := &errorReader{r: pack}
	if err := install(ctx, src); err != nil {
		if src.err != nil { // the stream broke, not the disk
			return serverWords(src.err)
		}
		return &installError{err}
	}
	return nil
}

// installError is a failure on our side of the stream.
type installError struct{ err error }

func (e *installError) Error() string { return e.err.Error() }
func (e *installError) Unwrap() error { return e.err }

// errorReader remembers why a stream ended.
type errorReader struct {
	r   io.Reader
	err error
}

func (e *errorReader) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

// serverWords makes what a server said fit to be shown.
func serverWords(err error) error {
	var line *pktline.ErrorLine
	if errors.As(err, &line) {
		return &refusal{clean(line.Text)}
	}
	var odd *packp.ErrUnexpectedData
	if errors.As(err, &odd) {
		return fmt.Errorf("the answer is not of the Git protocol: %s", clean(odd.Msg))
	}
	if errors.Is(err, pktline.ErrInvalidPktLen) {
		return errors.New("the answer is not of the Git protocol, or was cut off")
	}
	if text, ok := strings.CutPrefix(err.Error(), "unexpected error: "); ok { // from the side band
		return &refusal{clean(text)}
	}
	return err
}

// refusal is an error that the server put into words.
type refusal struct{ text string }

func (r *refusal) Error() string { return "the server says: " + r.text }

// notOurRef reports whether the server no longer has what it listed.
func (r *refusal) notOurRef() bool { return strings.Contains(r.text, "not our ref") }

// ErrGone is in the chain of a failure whose cause is that a listing was
// overtaken: a wanted commit has gone meanwhile. Listing again helps.
var ErrGone = errors.New("the server no longer offers the commit")

// clean makes text of a server printable and short.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// without removes from wants what haves has; the protocol forbids asking for it.
func without(wants, haves []plumbing.Hash) []plumbing.Hash {
	return slices.DeleteFunc(slices.Clone(wants), func(w plumbing.Hash) bool { return slices.Contains(haves, w) })
}
