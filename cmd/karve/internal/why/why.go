// Package why says what is wrong with the objects of a cluster: for each trouble the cause, what shows it, and what to do
// about it. It decides purely: from a World, which somebody else has gathered, to findings.
package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Subject names an object: Kind is as in commands ("pod", "deploy", "svc").
type Subject struct {
	Kind, Namespace, Name string
}

func (s Subject) String() string { return s.Kind + "/" + s.Name }

// Severity orders findings; the worst is the highest.
type Severity int

// What a finding means for who uses the object.
const (
	// Note: nothing is wrong, but it might surprise.
	Note Severity = iota
	// Unready: it runs and does not serve.
	Unready
	// Stuck: it waits for something.
	Stuck
	// Broken: it does not run, and will not by itself.
	Broken
	// Down: others suffer from it.
	Down
)

// Finding is one trouble of an object.
type Finding struct {
	About    Subject
	Severity Severity
	// Cause is one line without the object's name: findings of several pods with one cause are one trouble.
	Cause string
	// Because is what shows it, Do what ends it: commands, or a sentence.
	Because, Do []string
	// Pods counts those that share the cause, Of those that there are; 0 for what is no group of pods.
	Pods, Of int

	// What only the cluster can tell, for whoever prints the finding: Log's last lines belong to what shows it, the
	// scheduler's word about Schedule too.
	Log      *Log
	Schedule *Subject
	// Refused makes the finding count only if this address (host:port) refuses connections.
	Refused string
}

// Log names a container's log.
type Log struct {
	Namespace, Pod, Container string
	// Previous is that of the container before its last restart.
	Previous bool
}

// About says what is wrong with one object. Nothing is: a single Note says how it does.
func (w *World) About(s Subject) ([]Finding, error) {
	for _, k := range kinds() {
		if k.names[0] != s.Kind {
			continue
		}
		found, ok := k.about(w, s)
		if !ok {
			return nil, fmt.Errorf("there is no %s%s%s", s, in(s.Namespace), meant(s.Name, w.names(k)))
		}
		for i := range found {
			if found[i].About.Name == "" {
				found[i].About = s
			}
		}
		return worstFirst(found), nil
	}
	return nil, fmt.Errorf("nothing is known about the kind %q", s.Kind)
}

// All says what is wrong in the World, worst first: pods under what has made them, and what they suffer from once.
func (w *World) All() []Finding {
	var out []Finding
	for _, k := range kinds() {
		for _, s := range k.all(w) {
			found, _ := k.about(w, s)
			for _, f := range found {
				if f.Severity == Note || f.consequence(k) {
					continue
				}
				if f.About.Name == "" {
					f.About = s
				}
				out = append(out, f)
			}
		}
	}
	return worstFirst(out)
}

// consequence tells findings about a Service that only repeat what is said of its pods.
func (f *Finding) consequence(k kind) bool { return k.names[0] == "svc" && f.Pods > 0 }

func worstFirst(found []Finding) []Finding {
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Pods, a.Pods), cmp.Compare(a.About.Namespace, b.About.Namespace),
			cmp.Compare(a.About.Kind, b.About.Kind), cmp.Compare(a.About.Name, b.About.Name))
	})
	return found
}

// in words a namespace; cluster-wide objects have none.
func in(namespace string) string {
	if namespace == "" {
		return ""
	}
	return fmt.Sprintf(" in namespace %q", namespace)
}

// kubectl words a command for an object's namespace.
func kubectl(namespace, format string, args ...any) string {
	if namespace != "" && namespace != "default" {
		return "kubectl -n " + namespace + " " + fmt.Sprintf(format, args...)
	}
	return "kubectl " + fmt.Sprintf(format, args...)
}

// some lists at most three of many.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}
