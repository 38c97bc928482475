package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Token is a bearer token that a cluster has made. It never shows itself.
type Token struct {
	Bearer string
	// Life is how long it counts, from before it was asked for: by no clock
	// but our own.
	Life time.Duration
}

func (Token) String() string               { return "<token>" }
func (Token) GoString() string             { return "<token>" }
func (Token) LogValue() slog.Value         { return slog.StringValue("<token>") }
func (Token) MarshalJSON() ([]byte, error) { return []byte(`"<token>"`), nil }

// tokenLife is what is asked for; the API server may grant less.
const tokenLife = time.Hour

// Tokens gives what Options.Token is to be for another cluster that is reached
// by a: tokens that this cluster makes. It is nil if a has no need of any.
func (c *Cluster) Tokens(a app.Access) func(context.Context) (Token, error) {
	if a.Tokens == nil {
		return nil
	}
	return func(ctx context.Context) (Token, error) { return c.Token(ctx, *a.Tokens) }
}

// Token asks for a token of a service account of this cluster, as Plumb itself.
// Its errors are *app.Failure.
//
// Where the account is the one that Plumb runs as, a token that would open this
// very cluster is refused: it goes to an address that somebody has written into
// a ConfigMap, and whoever listens there would be Plumb.
func (c *Cluster) Token(ctx context.Context, t app.Tokens) (Token, error) {
	own := t.Name == ""
	if own {
		var err error
		if t.Namespace, t.Name, err = c.account(ctx); err != nil {
			return Token{}, err
		}
	}
	ref := object.Ref{Kind: "ServiceAccount", Namespace: t.Namespace, Name: t.Name}
	life := int64(tokenLife / time.Second)
	request := &authenticationv1.TokenRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(t.UID)},
		Spec:       authenticationv1.TokenRequestSpec{Audiences: t.Audiences, ExpirationSeconds: &life},
	}
	err := c.self.ask(ctx, request, "api", "v1", "namespaces", t.Namespace, "serviceaccounts", t.Name, "token")
	if err != nil {
		return Token{}, tokenFailure(ref, err)
	}
	token := Token{Bearer: request.Status.Token}
	if granted := request.Spec.ExpirationSeconds; granted != nil {
		token.Life = time.Duration(*granted) * time.Second
	}
	if token.Bearer == "" || token.Life <= 0 {
		return Token{}, app.Fail(app.StageObserve, app.ReasonInternal, "%s: the API server made no token that can be used", ref)
	}
	if own {
		if err := c.foreign(ctx, ref, token, t.Audiences); err != nil {
			return Token{}, err
		}
	}
	return token, nil
}

// account is the service account that Plumb runs as.
func (c *Cluster) account(ctx context.Context) (namespace, name string, err error) {
	review := &authenticationv1.SelfSubjectReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"}}
	if err := c.self.ask(ctx, review, "apis", "authentication.k8s.io", "v1", "selfsubjectreviews"); err != nil {
		return "", "", tokenFailure(object.Ref{}, err)
	}
	user := review.Status.UserInfo.Username
	account, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if namespace, name, ok2 := strings.Cut(account, ":"); ok && ok2 {
		return namespace, name, nil
	}
	return "", "", app.Fail(app.StageObserve, app.ReasonClusterUnknown, "no service account is named whose token opens the cluster, and Plumb acts as %q, which is none", user).
		WithHint("name one by serviceAccountName")
}

// foreign refuses a token that this cluster takes itself.
func (c *Cluster) foreign(ctx context.Context, ref object.Ref, token Token, audiences []string) error {
	review := &authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token.Bearer},
	}
	switch err := c.self.ask(ctx, review, "apis", "authentication.k8s.io", "v1", "tokenreviews"); {
	case err != nil:
		return tokenFailure(ref, err)
	case review.Status.Authenticated:
		return app.Fail(app.StageObserve, app.ReasonForbidden, "a token of %s, which Plumb runs as, for %s opens the cluster that Plumb serves, and is not sent to another",
			ref, strings.Join(audiences, ", ")).WithHint("give it an audience that only the other cluster takes, or name a service account of its own by serviceAccountName")
	}
	return nil
}

// ask posts what is answered in its own form, and reads the answer into it.
func (w *Writer) ask(ctx context.Context, review any, path ...string) error {
	data, err := json.Marshal(review)
	if err != nil {
		return err
	}
	result, _ := w.send(ctx, w.client.Post().AbsPath(path...).SetHeader("Accept", "application/json").SetHeader("Content-Type", "application/json").Body(data))
	raw, err := body(result)
	if err != nil {
		return err
	}
	if json.Unmarshal(raw, review) != nil { // whose error may quote a token
		return errors.New("unexpected answer of the API server")
	}
	return nil
}

// tokenFailure makes a failure of what came of asking for a token.
func tokenFailure(ref object.Ref, err error) *app.Failure {
	f := Classify("token", ref, object.Origin{}, err)
	f.Stage = app.StageObserve
	switch {
	case apierrors.IsNotFound(err):
		f.Reason, f.Hint = app.ReasonClusterUnknown, "create the service account, or name another"
	case apierrors.IsForbidden(err):
		f.Hint = "grant Plumb what the message names"
	}
	return f
}
