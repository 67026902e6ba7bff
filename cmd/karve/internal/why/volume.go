package why

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// defaultClass marks the StorageClass of claims that name none.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// unmounted is about pods whose volumes keep their containers from being made.
func unmounted(c *podCase) []Finding {
	var message string
	for _, list := range [][]corev1.ContainerStatus{c.pod.Status.InitContainerStatuses, c.pod.Status.ContainerStatuses} {
		for i := range list {
			if w := list[i].State.Waiting; w != nil && w.Reason == "ContainerCreating" && message == "" {
				message = w.Message
			}
			if list[i].State.Running != nil {
				return nil
			}
		}
	}
	var because []string
	if e := c.event("FailedMount", "FailedAttachVolume"); message == "" && e.Message != "" && c.w.event(c.pod.UID, "Created") == nil {
		message, because = e.Message, []string{fmt.Sprintf("event %s ago, %d times", duration.HumanDuration(c.w.Now.Sub(lastSeen(&e))), max(1, e.Count))}
	}
	if message == "" {
		return nil
	}
	if f, ok := c.missing(message); ok {
		f.Cause = volumeOf(message) + f.Cause
		return []Finding{f}
	}
	f := Finding{Severity: Broken, Cause: "its volumes cannot be mounted: " + message, Because: because}
	if strings.Contains(message, "hostPath type check failed") {
		f.Do = []string{c.edit("make that path on node " + c.pod.Spec.NodeName + ", and the pod starts by itself; or let the node make it, with hostPath.type DirectoryOrCreate")}
	}
	for _, claim := range claimsOf(c.pod) {
		f.Do = append(f.Do, "karve why"+flag(c.pod.Namespace)+" pvc/"+claim)
	}
	return []Finding{f}
}

func flag(namespace string) string {
	if namespace == "default" {
		return ""
	}
	return " -n " + namespace
}

// volumeOf is the beginning of a message about a volume that names it.
func volumeOf(message string) string {
	if _, rest, ok := strings.Cut(message, `volume "`); ok {
		name, _, _ := strings.Cut(rest, `"`)
		return "volume " + name + ": "
	}
	return ""
}

// claimsOf names the claims that a pod uses.
func claimsOf(p *corev1.Pod) []string {
	var out []string
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		}
		if v.Ephemeral != nil {
			out = append(out, p.Name+"-"+v.Name)
		}
	}
	return out
}

// claim is what is wrong with a claim that a pod needs.
func (c *podCase) claim(name string) []Finding {
	s := Subject{"pvc", c.pod.Namespace, name}
	if find(c.w.Claims, s) == nil {
		f := Finding{Severity: Stuck, Cause: fmt.Sprintf("there is no PersistentVolumeClaim %q", name)}
		var have []string
		for _, other := range subjects("pvc", c.w.Claims) {
			if other.Namespace == c.pod.Namespace {
				have = append(have, other.Name)
			}
		}
		if similar := near(name, have); len(similar) > 0 {
			f.Because = []string{"there is " + strings.Join(similar, ", ")}
		}
		f.Do = []string{"make it with kubectl apply: kind PersistentVolumeClaim, accessModes [ReadWriteOnce], resources.requests.storage; the pod starts by itself then"}
		return []Finding{f}
	}
	found, _ := aboutClaim(c.w, s)
	var out []Finding
	for _, f := range found {
		if f.Severity > Note {
			f.Cause = "its claim " + name + ": " + f.Cause
			out = append(out, f)
		}
	}
	return out
}

func aboutClaim(w *World, s Subject) ([]Finding, bool) {
	c := find(w.Claims, s)
	if c == nil {
		return nil, false
	}
	switch {
	case c.DeletionTimestamp != nil:
		return []Finding{w.protectedClaim(c)}, true
	case c.Status.Phase == corev1.ClaimBound:
		return []Finding{{Cause: fmt.Sprintf("nothing is wrong: it is bound to volume %s", c.Spec.VolumeName)}}, true
	case c.Status.Phase == corev1.ClaimLost:
		f := Finding{Severity: Down, Cause: fmt.Sprintf("its volume %s is gone, and what was in it", c.Spec.VolumeName)}
		f.Do = []string{kubectl(c.Namespace, "delete pvc %s", c.Name)}
		return []Finding{f}, true
	}
	return []Finding{w.pendingClaim(c)}, true
}

func (w *World) pendingClaim(c *corev1.PersistentVolumeClaim) Finding {
	f := Finding{Severity: Stuck}
	var classes []string
	fallback := ""
	for i := range w.Classes {
		classes = append(classes, w.Classes[i].Name)
		if w.Classes[i].Annotations[defaultClass] == "true" {
			fallback = w.Classes[i].Name
		}
	}
	name := ptr(c.Spec.StorageClassName)
	if name != "" && !slices.Contains(classes, name) {
		f.Cause = fmt.Sprintf("there is no StorageClass %q", name)
		f.Because = []string{"there is " + some(classes)}
		if fallback != "" {
			f.Do = []string{fmt.Sprintf("delete the claim and make it with storageClassName %s, or without (%s is the default): %s", fallback, fallback, kubectl(c.Namespace, "delete pvc %s", c.Name))}
		}
		return f
	}
	if e := w.event(c.UID, "ProvisioningFailed", "FailedBinding", "VolumeMismatch"); e != nil {
		f.Cause = "it gets no volume: " + e.Message
		f.Do = []string{kubectl(c.Namespace, "describe pvc %s", c.Name)}
		if name == "" {
			f.Do = []string{"make a PersistentVolume that fits it, or name a StorageClass: " + some(classes)}
		}
		return f
	}
	if e := w.event(c.UID, "WaitForFirstConsumer"); e != nil || len(w.usersOf(c)) == 0 {
		return Finding{Severity: Note, Cause: "nothing is wrong: its volume is made when the first pod uses it, and none does yet"}
	}
	f.Severity, f.Cause = Note, "its volume is being made"
	return f
}

func (w *World) protectedClaim(c *corev1.PersistentVolumeClaim) Finding {
	users := w.usersOf(c)
	f := Finding{Severity: Stuck, Cause: "it is terminating and is kept by finalizers: " + some(c.Finalizers)}
	if len(users) > 0 {
		f.Cause = "it is terminating and stays as long as pods use it: " + some(users)
		f.Do = []string{kubectl(c.Namespace, "delete pod %s", strings.Join(users, " ")) + "   # or what makes them"}
	}
	return f
}

func (w *World) usersOf(c *corev1.PersistentVolumeClaim) []string {
	var out []string
	for i := range w.Pods {
		if p := &w.Pods[i]; p.Namespace == c.Namespace && slices.Contains(claimsOf(p), c.Name) {
			out = append(out, p.Name)
		}
	}
	return out
}

// looseClaims are those that no pod uses: what is wrong with the others is said of their pods.
func looseClaims(w *World) []Subject {
	var out []Subject
	for i := range w.Claims {
		if c := &w.Claims[i]; len(w.usersOf(c)) == 0 {
			out = append(out, Subject{"pvc", c.Namespace, c.Name})
		}
	}
	return out
}
