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

	"github.com/rogpeppe/go-internal/testscript"

	"plumb.dev/plumb/internal/sandbox/ociserver"
)

// ociRegistry is the registry of one script, with the keys that sign for it.
type ociRegistry struct {
	*ociserver.Server
	shut   atomic.Bool
	host   string
	client ociserver.Client

	mu   sync.Mutex
	keys map[string]ociserver.Key
}

// registry gives a script a registry of its own: $OCI is oci://HOST/$NS, and
// $OCIHOST its host.
func registry(env *testscript.Env, ns string) {
	r := &ociRegistry{Server: ociserver.New(), keys: map[string]ociserver.Key{}}
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

// ociKey makes a pair of keys called NAME; the public one is in the file
// NAME.pub.
func ociKey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: oci-key NAME")
	}
	r := ts.Value("oci").(*ociRegistry)
	key, err := ociserver.NewKey("ecdsa")
	ts.Check(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[args[0]] = key
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), key.Public(), 0o644))
}

// ociSign signs a digest of a repository with a key, as cosign sign does, and
// tells the engine.
func ociSign(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 || neg {
		ts.Fatalf("usage: oci-sign KEY NAME DIGEST")
	}
	r := ts.Value("oci").(*ociRegistry)
	r.mu.Lock()
	key, ok := r.keys[args[0]]
	r.mu.Unlock()
	if !ok {
		ts.Fatalf("there is no key %s", args[0])
	}
	repository := r.host + "/" + ts.Getenv("NS") + "/" + args[1]
	ts.Check(r.client.SignTag(context.Background(), repository, args[2], key))
	tell(ts, "oci://"+repository)
}
