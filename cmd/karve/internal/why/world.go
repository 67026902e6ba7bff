package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
)

// World is what is known of a cluster, or of one of its namespaces, at a moment.
type World struct {
	Now          time.Time
	Pods         []corev1.Pod
	Events       []corev1.Event
	Nodes        []corev1.Node
	Namespaces   []corev1.Namespace
	Services     []corev1.Service
	Slices       []discoveryv1.EndpointSlice
	Claims       []corev1.PersistentVolumeClaim
	Classes      []storagev1.StorageClass
	ConfigMaps   []corev1.ConfigMap
	Secrets      []corev1.Secret
	Deployments  []appsv1.Deployment
	ReplicaSets  []appsv1.ReplicaSet
	StatefulSets []appsv1.StatefulSet
	DaemonSets   []appsv1.DaemonSet
	Jobs         []batchv1.Job
	CronJobs     []batchv1.CronJob
}

// node returns a node by its name, or nil.
func (w *World) node(name string) *corev1.Node {
	return find(w.Nodes, Subject{Name: name})
}

// podsOf returns the pods that an object controls.
func (w *World) podsOf(owners ...types.UID) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range w.Pods {
		if c := metav1.GetControllerOf(&w.Pods[i]); c != nil && slices.Contains(owners, c.UID) {
			out = append(out, &w.Pods[i])
		}
	}
	return out
}

// above names what stands at the top of what has made a pod, as commands call it; the pod itself when nothing has, or
// nothing that is known here.
func (w *World) above(pod *corev1.Pod) Subject {
	ns := pod.Namespace
	c := metav1.GetControllerOf(pod)
	if c == nil {
		return Subject{"pod", ns, pod.Name}
	}
	switch c.Kind {
	case "ReplicaSet":
		if rs := find(w.ReplicaSets, Subject{Namespace: ns, Name: c.Name}); rs != nil {
			if d := metav1.GetControllerOf(rs); d != nil && d.Kind == "Deployment" {
				return Subject{"deploy", ns, d.Name}
			}
		}
		return Subject{"rs", ns, c.Name}
	case "Job":
		if j := find(w.Jobs, Subject{Namespace: ns, Name: c.Name}); j != nil {
			if d := metav1.GetControllerOf(j); d != nil && d.Kind == "CronJob" {
				return Subject{"cronjob", ns, d.Name}
			}
		}
		return Subject{"job", ns, c.Name}
	case "StatefulSet":
		return Subject{"sts", ns, c.Name}
	case "DaemonSet":
		return Subject{"ds", ns, c.Name}
	}
	return Subject{"pod", ns, pod.Name}
}

// eventsOf returns the events about an object, the newest first.
func (w *World) eventsOf(uid types.UID) []*corev1.Event {
	var out []*corev1.Event
	for i := range w.Events {
		if w.Events[i].InvolvedObject.UID == uid {
			out = append(out, &w.Events[i])
		}
	}
	slices.SortStableFunc(out, func(a, b *corev1.Event) int { return lastSeen(b).Compare(lastSeen(a)) })
	return out
}

// event returns the newest event about an object with one of the reasons, or nil.
func (w *World) event(uid types.UID, reasons ...string) *corev1.Event {
	for _, e := range w.eventsOf(uid) {
		if slices.Contains(reasons, e.Reason) {
			return e
		}
	}
	return nil
}

func lastSeen(e *corev1.Event) time.Time {
	if e.Series != nil && !e.Series.LastObservedTime.IsZero() {
		return e.Series.LastObservedTime.Time
	}
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.FirstTimestamp.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return e.CreationTimestamp.Time
}

// since words how long ago something was.
func (w *World) since(t metav1.Time) string { return duration.HumanDuration(w.Now.Sub(t.Time)) }

// images lists the names of the images on the nodes' engines.
func (w *World) images() []string {
	var out []string
	for i := range w.Nodes {
		for _, image := range w.Nodes[i].Status.Images {
			for _, name := range image.Names {
				if !strings.Contains(name, "@") {
					out = append(out, name)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// group makes findings of the pods of one owner: one for each cause, with the pods that share it counted.
func (w *World) group(pods []*corev1.Pod) []Finding {
	var out []Finding
	var named [][]string
	for _, p := range pods {
		for _, f := range w.pod(p) {
			i := slices.IndexFunc(out, func(o Finding) bool { return o.Cause == f.Cause })
			if i < 0 {
				f.Pods, f.Of = 0, len(pods)
				i, out, named = len(out), append(out, f), append(named, nil)
			}
			out[i].Pods++
			named[i] = append(named[i], p.Name)
		}
	}
	for i := range out {
		if out[i].Severity > Note {
			out[i].Because = append(out[i].Because, "so it is with pod "+some(named[i]))
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Pods, a.Pods))
	})
	return out
}

type unknownKind struct {
	kind  string
	known []string
}

func (u unknownKind) Error() string {
	return fmt.Sprintf("karve why knows nothing about the kind %q; it knows %s", u.kind, strings.Join(u.known, ", "))
}

// nothingCalled is the error for a name that nothing has, with those that are near.
func (w *World) nothingCalled(namespace, name string) error {
	var have []string
	for _, k := range kinds() {
		if !k.clusterWide {
			have = append(have, w.names(k)...)
		}
	}
	return fmt.Errorf("there is no pod, workload, service or claim called %q%s%s", name, in(namespace), meant(name, have))
}

// names lists what the objects of a kind are called.
func (w *World) names(k kind) (out []string) {
	all := k.all(w)
	if k.names[0] == "pod" { // those of workloads, too
		all = subjects("pod", w.Pods)
	}
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}

// meant is a hint at names that are near.
func meant(name string, have []string) string {
	if near := near(name, have); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}
