package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// Annotations that Kubernetes gives such pods.
const (
	annotationHash   = "kubernetes.io/config.hash"
	annotationSource = "kubernetes.io/config.source"
)

// maxManifest bounds a file.
const maxManifest = 1 << 20

// files lists the manifests of a folder; one that does not exist has none.
func files(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				out = append(out, e.Name())
			}
		}
	}
	return out, nil
}

// read makes the pod that a manifest describes on a node. The same content is the same pod, also for an agent that
// starts again.
func read(dir, file, node string) (*corev1.Pod, error) {
	path := filepath.Join(dir, file)
	if info, err := os.Stat(path); err != nil || info.Size() > maxManifest {
		return nil, fmt.Errorf("%s: cannot be read, or is larger than %d bytes", file, maxManifest)
	}
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 { // empty: it is about to be written
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, fmt.Errorf("%s: want a v1 Pod with a name and containers", file)
	}
	sum := sha256.Sum256(append(data, node+"\x00"+file...))
	hash := hex.EncodeToString(sum[:16])
	pod.Name, pod.UID, pod.Status = pod.Name+"-"+node, types.UID(hash), corev1.PodStatus{}
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationHash], pod.Annotations[annotationSource] = hash, "file"
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	complete(&pod.Spec)
	pod.CreationTimestamp = metav1.Now()
	return pod, nil
}

// complete sets what the API would, where the agent asks for it.
func complete(spec *corev1.PodSpec) {
	set(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	set(&spec.DNSPolicy, corev1.DNSClusterFirst)
	if spec.TerminationGracePeriodSeconds == nil {
		seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
		spec.TerminationGracePeriodSeconds = &seconds
	}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			c := &containers[i]
			set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
			set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
			policy := corev1.PullIfNotPresent
			if name := c.Image[strings.LastIndex(c.Image, "/")+1:]; !strings.Contains(name, ":") || strings.HasSuffix(name, ":latest") {
				policy = corev1.PullAlways
			}
			set(&c.ImagePullPolicy, policy)
			for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
				completeProbe(probe)
			}
		}
	}
}

func completeProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	set(&p.TimeoutSeconds, 1)
	set(&p.PeriodSeconds, 10)
	set(&p.SuccessThreshold, 1)
	set(&p.FailureThreshold, 3)
	if p.HTTPGet != nil {
		set(&p.HTTPGet.Path, "/")
		set(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
	}
}

func set[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}
