package scenario

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// fetch does what a consumer of a source does: it reads status.artifact of a
// resource, fetches what that names, checks size and digest, and unpacks it
// with stock tar into a directory.
//
//	fetch RESOURCE/NAME DIRECTORY
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: fetch RESOURCE/NAME DIRECTORY")
	}
	artifact := artifactOf(ts, args[0])
	code, data := get(ts, fmt.Sprint(artifact["url"]))
	if code != http.StatusOK {
		ts.Fatalf("%v: %d: %s", artifact["url"], code, data)
	}
	if digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data)); digest != artifact["digest"] || int64(len(data)) != artifact["size"] {
		ts.Fatalf("%d bytes, %s; the status says %v", len(data), digest, artifact)
	}
	file := ts.MkAbs(args[1] + ".tar.gz")
	ts.Check(os.WriteFile(file, data, 0o600))
	ts.Check(os.MkdirAll(ts.MkAbs(args[1]), 0o755))
	ts.Check(ts.Exec("tar", "-xzf", file, "-C", ts.MkAbs(args[1])))
}

// artifactOf is status.artifact of a resource.
func artifactOf(ts *testscript.TestScript, resource string) map[string]any {
	kind, name, _ := strings.Cut(resource, "/")
	u, err := client(ts).Resource(plurals[kind]).Namespace(ts.Getenv("NS")).Get(context.Background(), name, metav1.GetOptions{})
	ts.Check(err)
	artifact, _, err := unstructured.NestedMap(u.Object, "status", "artifact")
	ts.Check(err)
	return artifact
}

func client(ts *testscript.TestScript) dynamic.Interface {
	config, err := clientcmd.BuildConfigFromFlags("", ts.Getenv("KUBECONFIG"))
	ts.Check(err)
	client, err := dynamic.NewForConfig(config)
	ts.Check(err)
	return client
}

// external does what a controller does that makes artifacts: it tells in the
// status of an ExternalArtifact of one, here that of another source, with
// another digest if one is given.
//
//	external NAME RESOURCE/NAME [DIGEST]
func external(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 || neg {
		ts.Fatalf("usage: external NAME RESOURCE/NAME [DIGEST]")
	}
	artifact := artifactOf(ts, args[1])
	if len(args) == 3 {
		artifact["digest"] = args[2]
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"artifact": artifact}})
	ts.Check(err)
	_, err = client(ts).Resource(plurals["ea"]).Namespace(ts.Getenv("NS")).
		Patch(context.Background(), args[0], types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "maker"}, "status")
	ts.Check(err)
}

// httpStatus waits until the answer to a request has a code.
//
//	http CODE PATH     of the engine's address
func httpStatus(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: http CODE PATH")
	}
	url := strings.TrimSuffix(ts.Value("hooks").(string), "/hooks/push") + args[1]
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(sandboxtest.Patience); ; <-again.C {
		code, data := get(ts, url)
		if fmt.Sprint(code) == args[0] {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s: %d: %.200s", url, code, data)
		}
	}
}

func get(ts *testscript.TestScript, url string) (int, []byte) {
	resp, err := http.Get(url)
	ts.Check(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return resp.StatusCode, data
}
