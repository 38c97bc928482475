package sandbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/sandbox/kubelet"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// template fills in what a pod template needs.
func template(name string, template corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	template.Labels = map[string]string{"app": name}
	if len(template.Spec.Containers) == 0 {
		template.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.org/app:1"}}
	}
	return template
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func deployment(name string, replicas int32, pod corev1.PodTemplateSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector(name), Template: template(name, pod)},
	}
}

func deploymentBecomesReady(t *testing.T, client kubernetes.Interface, namespace string, d *appsv1.Deployment) {
	t.Helper()
	began := time.Now()
	deployments := client.AppsV1().Deployments(namespace)
	if _, err := deployments.Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		got, err := deployments.Get(ctx, d.Name, metav1.GetOptions{})
		if err == nil && got.Status.AvailableReplicas != *d.Spec.Replicas {
			err = fmt.Errorf("%d of %d replicas are available", got.Status.AvailableReplicas, *d.Spec.Replicas)
		}
		return err
	})
	t.Logf("available after %s", time.Since(began))
}

func TestDeployment(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	client, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	deploymentBecomesReady(t, client, namespace, deployment("web", 3, corev1.PodTemplateSpec{}))

	pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ips := map[string]bool{}
	for _, pod := range pods.Items {
		ips[pod.Status.PodIP] = true
		if pod.Status.Phase != corev1.PodRunning || pod.Status.StartTime == nil || len(pod.Status.ContainerStatuses) != 1 {
			t.Errorf("%s: status is %v", pod.Name, pod.Status)
		}
	}
	if len(ips) != 3 {
		t.Errorf("pod IPs are %v", ips)
	}

	// A pod deleted with its usual grace is gone at once, and replaced.
	if err := client.CoreV1().Pods(namespace).Delete(t.Context(), pods.Items[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		got, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, pod := range got.Items {
			if pod.Name == pods.Items[0].Name {
				return errors.New("the deleted pod is still there")
			}
			if pod.Status.Phase == corev1.PodRunning {
				ready++
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d pods run", ready)
		}
		return nil
	})
}

func TestStatefulSet(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	client, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	replicas := int32(3)
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{Replicas: &replicas, ServiceName: "db", Selector: selector("db"),
			Template: template("db", corev1.PodTemplateSpec{})},
	}
	if _, err := client.AppsV1().StatefulSets(namespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		got, err := client.AppsV1().StatefulSets(namespace).Get(ctx, "db", metav1.GetOptions{})
		if err == nil && got.Status.AvailableReplicas != replicas {
			err = fmt.Errorf("status is %v", got.Status)
		}
		return err
	})
}

func TestDaemonSet(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	client, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec: appsv1.DaemonSetSpec{Selector: selector("agent"), Template: template("agent", corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "init", Image: "example.org/init:1"}}},
		})},
	}
	if _, err := client.AppsV1().DaemonSets(namespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		got, err := client.AppsV1().DaemonSets(namespace).Get(ctx, "agent", metav1.GetOptions{})
		if err == nil && (got.Status.DesiredNumberScheduled != 1 || got.Status.NumberAvailable != 1) {
			err = fmt.Errorf("status is %v", got.Status)
		}
		return err
	})
}

func TestJob(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	client, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	noRetries := int32(0)
	run := func(name string, annotations map[string]string) {
		pod := template(name, corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}})
		pod.Annotations = annotations
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{BackoffLimit: &noRetries, Template: pod}}
		if _, err := client.BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(name string, kind batchv1.JobConditionType) {
		t.Helper()
		sandboxtest.Eventually(t, func(ctx context.Context) error {
			got, err := client.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, condition := range got.Status.Conditions {
				if condition.Type == kind && condition.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("job %s: conditions are %v", name, got.Status.Conditions)
		})
	}
	run("good", nil)
	run("bad", map[string]string{kubelet.AnnotationPhase: "Failed"})
	run("endless", map[string]string{kubelet.AnnotationPhase: "Running"})
	has("good", batchv1.JobComplete)
	has("bad", batchv1.JobFailed)
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		got, err := client.BatchV1().Jobs(namespace).Get(ctx, "endless", metav1.GetOptions{})
		if err == nil && (got.Status.Active != 1 || got.Status.Ready == nil || *got.Status.Ready != 1 || len(got.Status.Conditions) > 0) {
			err = fmt.Errorf("status is %v", got.Status)
		}
		return err
	})
	// A Job that runs can be deleted, with its pod.
	background := metav1.DeletePropagationBackground
	if err := client.BatchV1().Jobs(namespace).Delete(t.Context(), "endless", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=endless"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("pod %s is still there", pods.Items[0].Name)
		}
		return err
	})
}

// Pods can be asked to misbehave, and to behave again.
func TestUnreadyPods(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	client, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	create := func(name, image string, annotations map[string]string) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
		}
		if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	becomes := func(name, want string) {
		t.Helper()
		sandboxtest.Eventually(t, func(ctx context.Context) error {
			pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			got := string(pod.Status.Phase)
			for _, c := range pod.Status.ContainerStatuses {
				if c.State.Waiting != nil {
					got += " " + c.State.Waiting.Reason
				}
				got += fmt.Sprintf(" ready=%t", c.Ready)
			}
			if got != want {
				return fmt.Errorf("pod %s is %q, want %q", name, got, want)
			}
			return nil
		})
	}
	create("broken", "broken/app:1", nil)
	create("unready", "app:1", map[string]string{kubelet.AnnotationReady: "false"})
	create("pending", "app:1", map[string]string{kubelet.AnnotationPhase: "Pending"})
	becomes("broken", "Pending ImagePullBackOff ready=false")
	becomes("unready", "Running ready=false")
	becomes("pending", "Pending ContainerCreating ready=false")

	patch := func(name, patch string) {
		t.Helper()
		if _, err := client.CoreV1().Pods(namespace).Patch(t.Context(), name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch("broken", `{"spec":{"containers":[{"name":"main","image":"app:2"}]}}`)
	patch("unready", `{"metadata":{"annotations":{"sandbox.plumb.dev/ready":null}}}`)
	patch("pending", `{"metadata":{"annotations":{"sandbox.plumb.dev/phase":null}}}`)
	becomes("broken", "Running ready=true")
	becomes("unready", "Running ready=true")
	becomes("pending", "Running ready=true")
}

func TestNamespaceDeletion(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	client, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	deploymentBecomesReady(t, client, namespace, deployment("web", 2, corev1.PodTemplateSpec{}))
	began := time.Now()
	if err := client.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the namespace is still there (%v)", err)
	})
	t.Logf("gone after %s", time.Since(began))
}

func TestRBACDeniesServiceAccount(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	admin, namespace := sandboxtest.Client(t, cluster), sandboxtest.Namespace(t, cluster)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}
	if _, err := admin.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "nobody", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(sandboxtest.RESTConfig(t, cluster))
	config.BearerToken = token.Status.Token
	nobody, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review, err := nobody.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if want := "system:serviceaccount:" + namespace + ":nobody"; err != nil || review.Status.UserInfo.Username != want {
		t.Fatalf("the token makes %v (%v), want %s", review.Status.UserInfo, err, want)
	}
	if _, err := nobody.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing secrets: %v, want forbidden", err)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	metrics, err := sandboxtest.Client(t, cluster).Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(metrics), "\napiserver_request_total{") {
		t.Errorf("no apiserver_request_total in %d bytes of metrics", len(metrics))
	}
}

func TestAuditLog(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t)
	namespace := sandboxtest.Namespace(t, cluster)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"key": "not-to-be-logged"}}
	if _, err := sandboxtest.Client(t, cluster).CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The log is written before the request is answered.
	file, err := os.Open(sandboxtest.AuditLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	found := 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "not-to-be-logged") {
			t.Error("the audit log has the contents of a secret")
		}
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef struct{ Resource, Namespace, Name string }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			continue // a line that is being written
		}
		if event.Verb == "create" && event.ObjectRef.Resource == "secrets" && event.ObjectRef.Namespace == namespace {
			found++
			if event.User.Username != "plumb-admin" || event.ObjectRef.Name != "s" {
				t.Errorf("event is %+v", event)
			}
		}
	}
	if err := lines.Err(); err != nil || found != 1 {
		t.Errorf("found %d events (%v), want 1", found, err)
	}
}
