package adopt

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Purpose is what rights are needed for.
type Purpose int

// The purposes.
const (
	ToLook Purpose = iota
	ToTakeOver
	ToHandBack
)

// Lacks lists the rights that the user has not and would need, in words. Who
// runs out of rights half-way leaves a cluster that nobody delivers. namespaces
// are those of the Deployments that are to be scaled.
func (c *Cluster) Lacks(ctx context.Context, purpose Purpose, namespaces ...string) ([]string, error) {
	var lacks []string
	for _, a := range rights(purpose, namespaces) {
		review, err := c.core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a},
		}, metav1.CreateOptions{FieldManager: FieldManager})
		if err != nil {
			return nil, err
		}
		if !review.Status.Allowed {
			lacks = append(lacks, rightText(a))
		}
	}
	return lacks, nil
}

// rights lists what is needed for a purpose.
func rights(purpose Purpose, namespaces []string) []authorizationv1.ResourceAttributes {
	var out []authorizationv1.ResourceAttributes
	need := func(group, resource, subresource, namespace string, verbs ...string) {
		for _, verb := range verbs {
			out = append(out, authorizationv1.ResourceAttributes{Group: group, Resource: resource, Subresource: subresource, Namespace: namespace, Verb: verb})
		}
	}
	need("apps", "deployments", "", "", "list")
	need("coordination.k8s.io", "leases", "", "", "list")
	for _, k := range kinds() {
		need(k.resource.Group, k.resource.Resource, "", "", "list")
		if purpose != ToLook {
			need(k.resource.Group, k.resource.Resource, "status", "", "patch")
			need(k.resource.Group, k.resource.Resource, "", "", "watch") // whoever takes it up is waited for
		}
		if purpose == ToHandBack { // Flux is asked to look at each
			need(k.resource.Group, k.resource.Resource, "", "", "patch")
		}
	}
	if purpose != ToHandBack { // a look asks what would become of them
		need(definitionResource.Group, definitionResource.Resource, "", "", "get", "patch")
	}
	if purpose == ToLook {
		return out
	}
	slices.Sort(namespaces)
	for _, namespace := range slices.Compact(namespaces) {
		need("apps", "deployments", "", namespace, "get", "watch", "patch")
		need("", "pods", "", namespace, "list", "watch")
	}
	return out
}

func rightText(a authorizationv1.ResourceAttributes) string {
	resource := a.Resource
	if a.Group != "" {
		resource += "." + a.Group
	}
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	if a.Namespace == "" {
		return fmt.Sprintf("%s %s", a.Verb, resource)
	}
	return fmt.Sprintf("%s %s in %s", a.Verb, resource, a.Namespace)
}
