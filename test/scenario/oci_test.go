package scenario

import (
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/sandbox/signer"
)

// ociRegistry is the registry of one script, with the keys that sign for it.
type ociRegistry struct {
	*ociserver.Server
	shut   atomic.Bool
	host   string
	client ociserver.Client

	mu      sync.Mutex
	signers map[string]signs
}

// signs puts a signature beside host/path@digest.
type signs func(ctx context.Context, client ociserver.Client, repository, digest string) error

// registry gives a script a registry of its own: $OCI is oci://HOST/$NS, and
// $OCIHOST its host.
func registry(env *testscript.Env, ns string) {
	r := &ociRegistry{Server: ociserver.New(), signers: map[string]signs{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.shut.Load() {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		r.ServeHTTP(w, req)
	}))
	env.Defer(server.Close)
	r.host = ociserver.Host(server.URL)
	env.Values["oci"] = r
	env.Setenv("OCIHOST", r.host)
	env.Setenv("OCI", "oci://"+r.host+"/"+ns)
}

// ociServer shuts or opens the script's registry, or has it ask for a password.
func ociServer(ts *testscript.TestScript, neg bool, args []string) {
	r := ts.Value("oci").(*ociRegistry)
	switch {
	case neg:
		ts.Fatalf("unsupported: ! oci-server")
	case len(args) == 1 && (args[0] == "up" || args[0] == "down"):
		r.shut.Store(args[0] == "down")
	case len(args) == 3 && args[0] == "private":
		r.Private(args[1], args[2])
		r.client.Username, r.client.Password = args[1], args[2]
	default:
		ts.Fatalf("usage: oci-server up|down|private USER PASSWORD")
	}
}

// annotations are the flags -a KEY=VALUE.
type annotations map[string]string

func (a annotations) String() string { return "" }
func (a annotations) Set(s string) error {
	key, value, _ := strings.Cut(s, "=")
	a[key] = value
	return nil
}

// ociPush pushes an artifact as flux push artifact does, a directory being
// packed and $NS and the like in its files filled in, and tells the engine.
// $DIGEST is its digest. With a file, and with the media types of Helm, it is
// what helm push does.
//
//	oci-push [-type T] [-config-type T] [-config FILE] [-a KEY=VALUE]... [-quiet] NAME:TAG DIR|FILE
func ociPush(ts *testscript.TestScript, neg bool, args []string) {
	r := ts.Value("oci").(*ociRegistry)
	flags := flag.NewFlagSet("oci-push", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	layerType := flags.String("type", ociserver.FluxContent, "")
	configType := flags.String("config-type", ociserver.FluxConfig, "")
	config := flags.String("config", "", "")
	quiet := flags.Bool("quiet", false, "") // tells the engine nothing
	notes := annotations{}
	flags.Var(notes, "a", "")
	ts.Check(flags.Parse(args))
	if flags.NArg() != 2 || neg {
		ts.Fatalf("usage: oci-push [-type T] [-config-type T] [-config FILE] [-a KEY=VALUE]... [-quiet] NAME:TAG DIR|FILE")
	}
	from := ts.MkAbs(flags.Arg(1))
	info, err := os.Stat(from)
	ts.Check(err)
	var data []byte
	if info.IsDir() {
		ts.Check(fillAll(ts, from))
		data, err = ociserver.Archive(os.DirFS(from))
	} else {
		data, err = os.ReadFile(from)
	}
	ts.Check(err)
	artifact := ociserver.Artifact{Config: *configType, Annotations: notes, Layers: []ociserver.Layer{{Type: *layerType, Data: data}}}
	if *config != "" {
		artifact.ConfigData = []byte(ts.ReadFile(*config))
	}
	name := ts.Getenv("NS") + "/" + flags.Arg(0)
	digest, err := r.client.Push(context.Background(), r.host+"/"+name, artifact)
	ts.Check(err)
	ts.Setenv("DIGEST", digest)
	if !*quiet {
		repository, _, _ := strings.Cut(name, ":")
		tell(ts, "oci://"+r.host+"/"+repository)
	}
}

// ociKey makes someone called NAME who signs. With cosign by a key, the public one
// is in the file NAME.pub; without keys, they are NAME@example.com in the words
// of https://login.example.com, and NAME.json is the trusted root; with Notation,
// NAME.crt is the certificate of the authority.
//
//	oci-key [-keyless|-notation] NAME
func ociKey(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("oci-key", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	keyless, notation := flags.Bool("keyless", false, ""), flags.Bool("notation", false, "")
	ts.Check(flags.Parse(args))
	if flags.NArg() != 1 || neg {
		ts.Fatalf("usage: oci-key [-keyless|-notation] NAME")
	}
	name := flags.Arg(0)
	var file string
	var trusted []byte
	var by signs
	var err error
	switch {
	case *keyless:
		file = name + ".json"
		trusted, by, err = keylessSigner(name)
	case *notation:
		file = name + ".crt"
		var notary *signer.Notary
		notary, err = signer.NewNotary(name, time.Hour)
		ts.Check(err)
		trusted = notary.Authority()
		by = func(ctx context.Context, c ociserver.Client, repository, digest string) error {
			return notary.Sign(ctx, c, repository, digest, signer.JWS, 0)
		}
	default:
		file = name + ".pub"
		var key ociserver.Key
		key, err = ociserver.NewKey("ecdsa")
		trusted = key.Public()
		by = func(ctx context.Context, c ociserver.Client, repository, digest string) error {
			return c.SignTag(ctx, repository, digest, key)
		}
	}
	ts.Check(err)
	r := ts.Value("oci").(*ociRegistry)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signers[name] = by
	ts.Check(os.WriteFile(ts.MkAbs(file), trusted, 0o644))
}

func keylessSigner(name string) ([]byte, signs, error) {
	sigstore, err := signer.NewSigstore()
	if err != nil {
		return nil, nil, err
	}
	root, err := sigstore.TrustedRoot(false)
	return root, func(ctx context.Context, c ociserver.Client, repository, digest string) error {
		bundle, err := sigstore.Bundle(name+"@example.com", "https://login.example.com", ociserver.Statement(digest, "https://sigstore.dev/cosign/sign/v1"), time.Minute)
		if err != nil {
			return err
		}
		return c.PushBundle(ctx, repository, digest, bundle)
	}, err
}

// ociSign has someone sign a digest of a repository, and tells the engine.
func ociSign(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 || neg {
		ts.Fatalf("usage: oci-sign WHO NAME DIGEST")
	}
	r := ts.Value("oci").(*ociRegistry)
	r.mu.Lock()
	by, ok := r.signers[args[0]]
	r.mu.Unlock()
	if !ok {
		ts.Fatalf("there is no signer %s", args[0])
	}
	repository := r.host + "/" + ts.Getenv("NS") + "/" + args[1]
	ts.Check(by(context.Background(), r.client, repository, args[2]))
	tell(ts, "oci://"+repository)
}
