package why

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var (
	missingObject = regexp.MustCompile(`(configmap|secret) "([^"]+)" not found`)
	missingKey    = regexp.MustCompile(`couldn't find key (\S+) in (ConfigMap|Secret) [^/]+/(\S+)`)
	absentKey     = regexp.MustCompile(`volume "([^"]+)" : (?:\w+ )?references non-existent (?:config|secret) key: (\S+)`)
)

// NeedsConfig tells whether any of the pods may lack a ConfigMap or Secret, so that those have to be known.
func NeedsConfig(pods []corev1.Pod) bool {
	for i := range pods {
		for _, list := range [][]corev1.ContainerStatus{pods[i].Status.InitContainerStatuses, pods[i].Status.ContainerStatuses} {
			for j := range list {
				if w := list[j].State.Waiting; w != nil && (w.Reason == "CreateContainerConfigError" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing") {
					return true
				}
			}
		}
	}
	return false
}

// config is about containers whose settings cannot be put together.
func (o *one) config(message string) Finding {
	if f, ok := o.missing(message); ok {
		f.Cause = "CreateContainerConfigError: " + f.Cause
		return f
	}
	f := Finding{Severity: Broken, Cause: "CreateContainerConfigError: " + message}
	if strings.Contains(message, "runAsNonRoot") || strings.Contains(message, "non-root") {
		f.Do = []string{o.edit("set securityContext.runAsUser to a number other than 0, or leave out runAsNonRoot")}
	}
	return f
}

// missing reads from a message which ConfigMap, Secret or key is missing.
func (c *podCase) missing(message string) (f Finding, ok bool) {
	if m := missingObject.FindStringSubmatch(message); m != nil {
		return c.missingObject(m[1], m[2]), true
	}
	if m := missingKey.FindStringSubmatch(message); m != nil {
		return c.missingKey(strings.ToLower(m[2]), m[3], m[1]), true
	}
	if m := absentKey.FindStringSubmatch(message); m != nil {
		for _, v := range c.pod.Spec.Volumes {
			switch {
			case v.Name != m[1]:
			case v.ConfigMap != nil:
				return c.missingKey("configmap", v.ConfigMap.Name, m[2]), true
			case v.Secret != nil:
				return c.missingKey("secret", v.Secret.SecretName, m[2]), true
			}
		}
	}
	return f, false
}

func (c *podCase) missingObject(kind, name string) Finding {
	have := map[string]string{"configmap": "ConfigMap", "secret": "Secret"}
	f := Finding{Severity: Broken, Cause: fmt.Sprintf("there is no %s %q%s", have[kind], name, in(c.pod.Namespace))}
	names := c.w.configNames(kind, c.pod.Namespace)
	if similar := near(name, names); len(similar) > 0 {
		f.Because = []string{"there is " + strings.Join(similar, ", ")}
		f.Do = []string{c.edit("name it " + similar[0] + ", if that is meant")}
	} else if len(names) > 0 {
		f.Because = []string{"there is only " + some(names)}
	}
	generic := map[string]string{"configmap": "create configmap %s --from-literal=KEY=VALUE", "secret": "create secret generic %s --from-literal=KEY=VALUE"}
	f.Do = append(f.Do, c.kubectl(generic[kind], name)+"   # the pod starts by itself then")
	return f
}

func (c *podCase) missingKey(kind, name, key string) Finding {
	have := map[string]string{"configmap": "ConfigMap", "secret": "Secret"}
	f := Finding{Severity: Broken, Cause: fmt.Sprintf("%s %q has no key %q", have[kind], name, key)}
	keys := c.w.configKeys(kind, c.pod.Namespace, name)
	if len(keys) > 0 {
		f.Because = []string{"it has " + some(keys)}
	}
	if similar := near(key, keys); len(similar) > 0 {
		f.Do = []string{c.edit("ask for the key " + similar[0] + ", if that is meant")}
	}
	f.Do = append(f.Do, c.kubectl("edit %s %s", kind, name)+"   # to add the key")
	return f
}

// edit is a hint with the command that opens what makes the pod; a pod's own containers cannot be changed.
func (c *podCase) edit(what string) string {
	switch c.owner.Kind {
	case "deploy", "sts", "ds", "cronjob":
		return what + ": " + c.kubectl("edit %s", c.owner)
	}
	return what + ", and make it anew: " + c.kubectl("replace --force -f FILE")
}

func (w *World) configNames(kind, namespace string) []string {
	var all []Subject
	if kind == "secret" {
		all = subjects("secret", w.Secrets)
	} else {
		all = subjects("configmap", w.ConfigMaps)
	}
	var out []string
	for _, s := range all {
		// Every namespace has the cluster's certificate; nobody means that.
		if s.Namespace == namespace && s.Name != "kube-root-ca.crt" {
			out = append(out, s.Name)
		}
	}
	return out
}

func (w *World) configKeys(kind, namespace, name string) []string {
	s := Subject{Namespace: namespace, Name: name}
	if kind == "secret" {
		if secret := find(w.Secrets, s); secret != nil {
			return slices.Sorted(maps.Keys(secret.Data))
		}
		return nil
	}
	if cm := find(w.ConfigMaps, s); cm != nil {
		return slices.Sorted(maps.Keys(cm.Data))
	}
	return nil
}
