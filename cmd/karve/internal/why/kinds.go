package why

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kind is one sort of object that can be asked about.
type kind struct {
	// names are what it is called, the one for commands first.
	names []string
	// clusterWide objects have no namespace.
	clusterWide bool
	// about is what is wrong with an object, ok false when there is no such one. Found without a subject are its own.
	about func(w *World, s Subject) (found []Finding, ok bool)
	// all lists those that are looked at when nothing is named.
	all func(w *World) []Subject
}

// kinds lists what can be asked about. A name alone is looked for in this order.
func kinds() []kind {
	return []kind{
		{names: []string{"pod", "pods", "po"}, about: aboutPod, all: loosePods},
		{names: []string{"deploy", "deployment", "deployments"}, about: aboutDeployment, all: func(w *World) []Subject { return subjects("deploy", w.Deployments) }},
		{names: []string{"sts", "statefulset", "statefulsets"}, about: aboutStatefulSet, all: func(w *World) []Subject { return subjects("sts", w.StatefulSets) }},
		{names: []string{"ds", "daemonset", "daemonsets"}, about: aboutDaemonSet, all: func(w *World) []Subject { return subjects("ds", w.DaemonSets) }},
		{names: []string{"job", "jobs"}, about: aboutJob, all: func(w *World) []Subject { return loose("job", w.Jobs) }},
		{names: []string{"cronjob", "cronjobs", "cj"}, about: aboutCronJob, all: func(w *World) []Subject { return subjects("cronjob", w.CronJobs) }},
		{names: []string{"svc", "service", "services"}, about: aboutService, all: func(w *World) []Subject { return subjects("svc", w.Services) }},
		{names: []string{"pvc", "persistentvolumeclaim", "persistentvolumeclaims"}, about: aboutClaim, all: looseClaims},
		{names: []string{"rs", "replicaset", "replicasets"}, about: aboutReplicaSet, all: func(w *World) []Subject { return loose("rs", w.ReplicaSets) }},
		{names: []string{"ns", "namespace", "namespaces"}, clusterWide: true, about: aboutNamespace, all: func(w *World) []Subject { return subjects("ns", w.Namespaces) }},
		{names: []string{"node", "nodes", "no"}, clusterWide: true, about: aboutNode, all: func(w *World) []Subject { return subjects("node", w.Nodes) }},
	}
}

// Parse reads what kubectl would take for an object: "pod/x", "pods x", "deployments.apps/x". Without a kind it is the first
// object of that name in kinds.
func (w *World) Parse(namespace string, args []string) ([]Subject, error) {
	word, rest := "", args
	if len(args) > 1 && !strings.Contains(args[0], "/") {
		word, rest = args[0], args[1:]
	}
	var out []Subject
	for _, arg := range rest {
		kind, name := word, arg
		if before, after, ok := strings.Cut(arg, "/"); ok {
			kind, name = before, after
		}
		s, err := w.subject(kind, namespace, name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (w *World) subject(word, namespace, name string) (Subject, error) {
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	var known []string
	for _, k := range kinds() {
		s := Subject{k.names[0], namespace, name}
		if k.clusterWide {
			s.Namespace = ""
		}
		known = append(known, s.Kind)
		if word == "" {
			if _, ok := k.about(w, s); ok {
				return s, nil
			}
			continue
		}
		if slices.Contains(k.names, word) {
			return s, nil
		}
	}
	if word != "" {
		return Subject{}, unknownKind{word, known}
	}
	for _, k := range kinds() {
		if slices.Contains(k.names, name) {
			return Subject{}, fmt.Errorf("which %s? Give its name too, or nothing for all that is wrong%s", k.names[0], in(namespace))
		}
	}
	return Subject{}, w.nothingCalled(namespace, name)
}

// subjects names all objects of a list.
func subjects[T any, P interface {
	*T
	metav1.Object
}](kind string, list []T) []Subject {
	out := make([]Subject, 0, len(list))
	for i := range list {
		o := P(&list[i])
		out = append(out, Subject{kind, o.GetNamespace(), o.GetName()})
	}
	return out
}

// find returns the object of a list that is meant, or nil.
func find[T any, P interface {
	*T
	metav1.Object
}](list []T, s Subject) P {
	for i := range list {
		if o := P(&list[i]); o.GetName() == s.Name && o.GetNamespace() == s.Namespace {
			return o
		}
	}
	return nil
}
