package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/secret/sops"
)

// values are what a rendering takes from the cluster.
type values struct {
	render.Values
	// version names the versions of all objects that the values are from, ""
	// if there are none. It tells nothing of what they hold.
	version string
	secret  []string // what must not be told
	keys    *sops.Keys
}

// resolve reads what the app's rendering takes from the cluster, as Plumb
// itself and never for another namespace than the dialect names. From here on
// a change of one of these objects makes the app due.
func (r *run) resolve(ctx context.Context) *app.Failure {
	spec := r.spec.Render
	r.values = values{Values: render.Values{Lenient: r.e.opts.LenientVariables}}
	if spec.Decrypt.On {
		r.values.Decrypt = func(o object.Object) (object.Object, error) { return r.values.keys.Object(o, spec.Decrypt) }
	}
	refs := spec.References()
	if len(refs) == 0 {
		return nil
	}
	r.e.reads(r.a.id, refs)
	if err := r.e.opts.Cluster.Remember(ctx, refs); err != nil {
		return app.AsFailure(err, app.StageObserve)
	}
	r.values.Variables = map[string]string{}
	var versions []string
	for _, from := range spec.Substitute.From {
		u, err := r.e.opts.Cluster.Get(ctx, from.Ref)
		if err != nil {
			return app.AsFailure(err, app.StageObserve)
		}
		if u == nil {
			if !from.Optional {
				return app.Fail(app.StageRender, app.ReasonBuild, "variables are to come from %s, which does not exist", from.Ref).
					WithHint("create it, or make the reference optional")
			}
			versions = append(versions, "none")
			continue
		}
		versions = append(versions, string(u.GetUID())+"/"+u.GetResourceVersion())
		for name, value := range contents(u) {
			r.values.Variables[name] = value
			if from.Ref.Kind == "Secret" {
				r.values.secret = append(r.values.secret, value, strings.ReplaceAll(value, "\n", ""))
			}
		}
	}
	if ref := spec.Decrypt.Keys; ref != (object.Ref{}) {
		u, err := r.e.opts.Cluster.Get(ctx, ref)
		if err != nil {
			return app.AsFailure(err, app.StageObserve)
		}
		if u == nil {
			return app.Fail(app.StageRender, app.ReasonBuild, "the keys for decryption are to come from %s, which does not exist", ref).
				WithHint("create it, or correct the reference")
		}
		versions = append(versions, string(u.GetUID())+"/"+u.GetResourceVersion())
		data := map[string][]byte{}
		for name, value := range contents(u) {
			data[name] = []byte(value)
		}
		if r.values.keys, err = sops.ParseKeys(data); err != nil {
			return app.Fail(app.StageRender, app.ReasonBuild, "%s: %w", ref, err)
		}
	}
	r.values.version = strings.Join(versions, " ")
	if r.asked == "" {
		r.asked = r.hash // a rendering may be done again
	}
	r.hash = withValues(r.asked, r.values.version)
	return nil
}

// build is a RenderFunc that opens what is encrypted in tree.
func (r *run) build(ctx context.Context, tree fs.FS, spec app.Render) (render.Result, error) {
	var opened *sops.Files
	if spec.Decrypt.On {
		opened = r.values.keys.Open(tree, spec.Decrypt)
		tree = opened
	}
	result, err := r.e.opts.Render(ctx, tree, spec)
	if opened != nil && err != nil && opened.Failure() != nil {
		return render.Result{}, opened.Failure() // what Kustomize makes of it names no file
	}
	return result, err
}

// withValues is a spec hash that also stands for the values of that version.
func withValues(hash, version string) string {
	if version == "" {
		return hash
	}
	sum := sha256.Sum256([]byte(hash + " " + version))
	return hex.EncodeToString(sum[:8])
}

// contents are the keys of a ConfigMap or a Secret with their values.
func contents(u *unstructured.Unstructured) map[string]string {
	data, _, _ := unstructured.NestedMap(u.Object, "data")
	out := make(map[string]string, len(data))
	for key, value := range data {
		text, ok := value.(string)
		if !ok {
			continue
		}
		if u.GetKind() == "Secret" {
			plain, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				continue // the API server lets none pass
			}
			text = string(plain)
		}
		out[key] = text
	}
	return out
}

// reads notes that an app takes values from objects.
func (e *Engine) reads(id app.ID, refs []object.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ref := range refs {
		if !slices.Contains(e.valued[ref], id) {
			e.valued[ref] = append(e.valued[ref], id)
		}
	}
}

// valueChanged makes the apps due that take values from an object.
func (e *Engine) valueChanged(ref object.Ref) {
	e.mu.RLock()
	ids := slices.Clone(e.valued[ref])
	e.mu.RUnlock()
	for _, id := range ids {
		if a := e.app(id); a != nil && a.takesFrom(ref) {
			a.overtake(ref)
			e.trigger(id, app.CauseDepends, valueDelay)
			continue
		}
		e.mu.Lock()
		e.valued[ref] = slices.DeleteFunc(slices.Clone(e.valued[ref]), func(other app.ID) bool { return other == id })
		if len(e.valued[ref]) == 0 {
			delete(e.valued, ref)
		}
		e.mu.Unlock()
	}
}

// valueDelay gathers the changes of several objects into one run.
const valueDelay = healthDelay

// overtake stops an action of Helm that works with what ref held before.
func (a *state) overtake(ref object.Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acting && a.run != nil && slices.Contains(a.run.spec.References(), ref) {
		a.run.stop(app.CauseSpec, errors.New("newer values take over"))
	}
}

// takesFrom reports whether a change of ref may change what becomes of the app.
func (a *state) takesFrom(ref object.Ref) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.spec.References(), ref) || a.waitsFor(ref)
}

// hide takes the values of Secrets out of what a report tells: the API server
// quotes what it refuses, wherever the value stands.
func (v values) hide(rep app.Report) app.Report {
	var pairs []string
	secrets := slices.Clone(v.secret)
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // the longest first
	for _, s := range slices.Compact(secrets) {
		if len(s) >= minHidden {
			pairs = append(pairs, s, "<redacted>")
		}
	}
	if len(pairs) == 0 {
		return rep
	}
	clean := strings.NewReplacer(pairs...)
	rep.Failure = hideFailure(rep.Failure, clean)
	rep.Release = hideRelease(rep.Release, clean)
	if rep.Attempt != nil {
		attempt := *rep.Attempt
		attempt.Message, attempt.Failure = clean.Replace(attempt.Message), hideFailure(attempt.Failure, clean)
		rep.Attempt = &attempt
	}
	rep.Progress = clean.Replace(rep.Progress)
	rep.Health.Message = clean.Replace(rep.Health.Message)
	rep.Warnings = slices.Clone(rep.Warnings)
	for i := range rep.Warnings {
		rep.Warnings[i].Message = clean.Replace(rep.Warnings[i].Message)
	}
	rep.Objects = slices.Clone(rep.Objects)
	for i := range rep.Objects {
		o := &rep.Objects[i]
		o.Message, o.Reason, o.Health.Message = clean.Replace(o.Message), clean.Replace(o.Reason), clean.Replace(o.Health.Message)
		o.Changes = slices.Clone(o.Changes)
		for j := range o.Changes {
			o.Changes[j].From, o.Changes[j].To = clean.Replace(o.Changes[j].From), clean.Replace(o.Changes[j].To)
		}
	}
	return rep
}

// minHidden is the length from which a value is hidden: hiding every "a" or
// "80" would make a message unreadable, and tell more than it hides.
const minHidden = 4

func hideFailure(f *app.Failure, clean *strings.Replacer) *app.Failure {
	if f == nil || clean.Replace(f.Error()) == f.Error() {
		return f
	}
	hidden := app.Fail(f.Stage, f.Reason, "%s", clean.Replace(f.Error()))
	hidden.Retry, hidden.Hint = f.Retry, clean.Replace(f.Hint)
	return hidden
}
