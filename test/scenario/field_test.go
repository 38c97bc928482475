package scenario

import (
	"bytes"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"
)

// field reads a kubectl jsonpath, such as {.status.phase}; "" if it is absent.
// Ready stands for the Ready condition as status/reason/message, Conditions for
// all conditions of an Application as type: message, and Sync for its sync
// status/health/phase of the operation.
func field(u *unstructured.Unstructured, path string) string {
	if path == "Ready" {
		path = `{range .status.conditions[?(@.type=="Ready")]}{.status}/{.reason}/{.message}{end} gen={.status.observedGeneration}/{.metadata.generation}`
	}
	switch path {
	case "Healthy", "Stalled", "Reconciling":
		path = `{range .status.conditions[?(@.type=="` + path + `")]}{.status}/{.reason}/{.message}{end}`
	case "Conditions":
		path = `{range .status.conditions[*]}{.type}: {.message}{"\n"}{end}`
	case "Sync":
		path = `{.status.sync.status}/{.status.health.status}/{.status.operationState.phase}`
	}
	j := jsonpath.New("field").AllowMissingKeys(true)
	if err := j.Parse(path); err != nil {
		return "bad path: " + err.Error()
	}
	var b bytes.Buffer
	if err := j.Execute(&b, u.Object); err != nil {
		return ""
	}
	return b.String()
}

func httpPost(address, body string) (int, error) {
	resp, err := http.Post(address, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
