package why

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}
}

func ownedBy(kind, name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(name), Controller: new(true)}}
}

// of names a pod and what controls it.
func of(kind, owner, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Name, p.UID, p.OwnerReferences = name, types.UID(name), ownedBy(kind, owner)
	}
}

func classless(w *World) {
	fast := "fast"
	w.Classes = []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "standard", Annotations: map[string]string{defaultClass: "true"}}}}
	w.Claims = []corev1.PersistentVolumeClaim{{ObjectMeta: meta("data"), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &fast}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}}
}

// rollout is a Deployment "shop" with a ReplicaSet "shop-1".
func rollout(conditions ...appsv1.DeploymentCondition) func(*World) {
	return func(w *World) {
		w.Deployments = []appsv1.Deployment{{ObjectMeta: meta("shop"), Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), ProgressDeadlineSeconds: new(int32(600))}, Status: appsv1.DeploymentStatus{Conditions: conditions}}}
		w.ReplicaSets = []appsv1.ReplicaSet{{ObjectMeta: meta("shop-1")}}
		w.ReplicaSets[0].OwnerReferences = ownedBy("Deployment", "shop")
	}
}

func TestWorkloads(t *testing.T) {
	pull := waits("ImagePullBackOff", "no such host")
	three := []corev1.Pod{
		pod(of("ReplicaSet", "shop-1", "a"), image("my-ap:v2"), pull), pod(of("ReplicaSet", "shop-1", "b"), image("my-ap:v2"), pull),
		pod(of("ReplicaSet", "shop-1", "c"), crashed(corev1.ContainerStateTerminated{ExitCode: 1})),
	}
	for name, c := range map[string]struct {
		about Subject
		world func(*World)
		pods  []corev1.Pod
		says  []string
		share int // how many pods have the trouble
	}{
		"pods by cause": {
			about: Subject{"deploy", "shop", "shop"},
			world: rollout(appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}), pods: three,
			says: []string{"ImagePullBackOff", "pod a, b", "no progress for 600s", "set image deploy/shop app=my-app:v2"}, share: 2,
		},
		"quota": {
			about: Subject{"deploy", "shop", "shop"},
			world: rollout(appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: `pods "shop-1-x" is forbidden: exceeded quota: two, requested: pods=1`}),
			says:  []string{"its pods are refused: exceeded quota: two, requested: pods=1", "kubectl -n shop describe quota"},
		},
		"refused set": {about: Subject{"sts", "shop", "db"}, world: func(w *World) {
			w.StatefulSets = []appsv1.StatefulSet{{ObjectMeta: meta("db")}}
			w.Events = []corev1.Event{event("db", "FailedCreate", `create Pod db-0 in StatefulSet db failed error: pods "db-0" is forbidden: violates PodSecurity "restricted:latest"`)}
		}, says: []string{"violates PodSecurity", "pod-security.kubernetes.io/enforce=baseline"}},
		"daemons without nodes": {about: Subject{"ds", "shop", "agent"}, world: func(w *World) {
			w.DaemonSets = []appsv1.DaemonSet{{ObjectMeta: meta("agent")}}
			w.DaemonSets[0].Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
		}, says: []string{"no node is to run it", "disk=ssd", "get nodes --show-labels"}},
		"failed job": {about: Subject{"job", "shop", "load"}, world: func(w *World) {
			w.Jobs = []batchv1.Job{{ObjectMeta: meta("load"), Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit"}}}}}
		}, pods: []corev1.Pod{pod(of("Job", "load", "load-1"), over, func(p *corev1.Pod) {
			p.Status.Phase, p.Status.ContainerStatuses[0].State.Terminated.ExitCode = corev1.PodFailed, 2
		})}, says: []string{"it has failed: Job has reached the specified backoff limit", "ended with exit code 2", "logs load-1 -c app"}},
		"cron job's newest": {about: Subject{"cronjob", "shop", "nightly"}, world: func(w *World) {
			w.CronJobs = []batchv1.CronJob{{ObjectMeta: meta("nightly")}}
			w.Jobs = []batchv1.Job{{ObjectMeta: meta("nightly-1")}}
			w.Jobs[0].OwnerReferences = ownedBy("CronJob", "nightly")
		}, pods: []corev1.Pod{pod(of("Job", "nightly-1", "x"), pull)}, says: []string{"its newest job nightly-1: container app: ImagePullBackOff"}},
		"selector": {
			about: Subject{"svc", "shop", "web"}, world: service("app", "wep", intstr.FromInt32(8080)), pods: []corev1.Pod{pod(labelled)},
			says: []string{"its selector app=wep matches no pod", "the nearest is pod/web, which has app=web", "set selector svc/web app=web"},
		},
		"port's name": {
			about: Subject{"svc", "shop", "web"},
			world: service("app", "web", intstr.FromString("http")), pods: []corev1.Pod{pod(labelled, probed)},
			says: []string{`a port called "http"`, "declare 8080 (web)"},
		},
		"no pod ready": {
			about: Subject{"svc", "shop", "web"},
			world: service("app", "web", intstr.FromInt32(8080)), pods: []corev1.Pod{pod(labelled, probed, pull)},
			says: []string{"0 of its 1 pods are ready; container app: ImagePullBackOff"}, share: 1,
		},
		"silent node": {about: Subject{"node", "", "n1"}, world: silent, says: []string{"its agent has gone silent", "kubectl delete node n1"}},
		"claim": {
			about: Subject{"pvc", "shop", "data"}, world: classless,
			says: []string{`there is no StorageClass "fast"`, "kubectl -n shop delete pvc data"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := world(c.world, c.pods...).About(c.about)
			require.NoError(t, err)
			require.Equal(t, c.about, found[0].About)
			require.GreaterOrEqual(t, found[0].Pods, c.share)
			for _, s := range c.says {
				require.Contains(t, told(found[0]), s)
			}
		})
	}
}

func labelled(p *corev1.Pod) { p.Labels = map[string]string{"app": "web"} }

func service(key, value string, target intstr.IntOrString) func(*World) {
	return func(w *World) {
		w.Services = []corev1.Service{{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Selector: map[string]string{key: value}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: target}}}}}
	}
}

func TestAPortThatNobodyDeclaresIsToBeTried(t *testing.T) {
	w := world(service("app", "web", intstr.FromInt32(9090)), pod(labelled, probed))
	found, err := w.About(Subject{"svc", "shop", "web"})
	require.NoError(t, err)
	require.Equal(t, "10.0.0.1:9090", found[0].Refused)
}

func TestAllIsSaidOnceAndTheWorstFirst(t *testing.T) {
	w := world(func(w *World) {
		rollout()(w)
		service("app", "web", intstr.FromInt32(8080))(w)
		classless(w)
	},
		pod(of("ReplicaSet", "shop-1", "a"), labelled, probed, waits("ImagePullBackOff", "denied")), pod(of("ReplicaSet", "shop-1", "b"), labelled, probed),
		pod(unscheduledPod, claims("data")))
	var heads []string
	for _, f := range w.All() {
		heads = append(heads, f.About.String())
	}
	require.Equal(t, []string{"deploy/shop", "pod/web"}, heads, "neither the Service nor the claim: what is wrong with them is said of the pods")
	require.Empty(t, world(nil, pod()).All())
}

func TestNames(t *testing.T) {
	w := world(rollout(), pod())
	for words, want := range map[string]Subject{
		"po/web": {"pod", "shop", "web"}, "deployments.apps/shop": {"deploy", "shop", "shop"}, "shop": {"deploy", "shop", "shop"}, "web": {"pod", "shop", "web"}, "no/n1": {"node", "", "n1"},
	} {
		got, err := w.Parse("shop", []string{words})
		require.NoError(t, err)
		require.Equal(t, []Subject{want}, got)
	}
	got, err := w.Parse("shop", []string{"Pods", "web"})
	require.NoError(t, err)
	require.Equal(t, []Subject{{"pod", "shop", "web"}}, got)
	_, err = w.Parse("shop", []string{"shpo"})
	require.ErrorContains(t, err, "did you mean shop?")
	_, err = w.About(Subject{"pod", "shop", "wbe"})
	require.EqualError(t, err, `there is no pod/wbe in namespace "shop"; did you mean web?`)
	_, err = w.Parse("shop", []string{"hpa/x"})
	require.ErrorContains(t, err, `knows nothing about the kind "hpa"`)
}
