package image

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/simulated"
)

// engine has some images, and a registry that answers as told.
type engine struct {
	*simulated.Runtime
	images map[string]runtime.Image
	pull   error
	pulls  int
}

func (e *engine) Image(_ context.Context, ref string) (runtime.Image, error) {
	if image, ok := e.images[ref]; ok {
		return image, nil
	}
	return runtime.Image{}, runtime.ErrNotFound
}

func (e *engine) Pull(_ context.Context, ref string, _ *runtime.Credentials) error {
	e.pulls++
	if e.pull == nil {
		e.images[ref] = runtime.Image{ID: "pulled"}
	}
	return e.pull
}

func TestEnsure(t *testing.T) {
	built, pulledBefore := runtime.Image{ID: "built"}, runtime.Image{ID: "old", Digests: []string{"app@sha256:1"}}
	noRoute, denied := errors.New("Get https://registry-1.docker.io/v2/: dial tcp: no such host"), errors.New("pull access denied for app")
	for what, c := range map[string]struct {
		name   string
		policy corev1.PullPolicy
		have   map[string]runtime.Image
		pull   error
		// want is the image's ID or the failure's reason; pulls how often the registry is asked in two tries.
		want  string
		pulls int
		event string
	}{
		"built here, Always":                   {"app:latest", corev1.PullAlways, map[string]runtime.Image{"app:latest": built}, noRoute, "built", 0, "built or loaded there"},
		"built here, by default":               {"app", "", map[string]runtime.Image{"app": built}, noRoute, "built", 0, "built or loaded there"},
		"pulled before, registry out of reach": {"app:latest", corev1.PullAlways, map[string]runtime.Image{"app:latest": pulledBefore}, noRoute, "old", 1, "used from the engine"},
		"pulled before, registry refuses":      {"app:latest", corev1.PullAlways, map[string]runtime.Image{"app:latest": pulledBefore}, denied, "old", 2, "pull access denied"},
		"pulled before, a newer one":           {"app:latest", corev1.PullAlways, map[string]runtime.Image{"app:latest": pulledBefore}, nil, "pulled", 1, "Successfully pulled"},
		"with a registry host, it must answer": {"reg.example/app:latest", corev1.PullAlways, map[string]runtime.Image{"reg.example/app:latest": built}, noRoute, ErrImagePull, 2, "Failed to pull image"},
		"IfNotPresent, present":                {"reg.example/app:1", corev1.PullIfNotPresent, map[string]runtime.Image{"reg.example/app:1": built}, noRoute, "built", 0, "already present on machine"},
		"IfNotPresent, absent":                 {"app:1", corev1.PullIfNotPresent, nil, nil, "pulled", 1, "Successfully pulled"},
		"Never, absent":                        {"app:1", corev1.PullNever, nil, nil, ErrImageNeverPull, 0, "pull policy of Never"},
		"no name at all":                       {"App Latest", "", nil, nil, InvalidImageName, 0, "invalid reference format"},
	} {
		t.Run(what, func(t *testing.T) {
			e := &engine{Runtime: simulated.New(), images: map[string]runtime.Image{}, pull: c.pull}
			for name, image := range c.have {
				e.images[name] = image
			}
			m := New(e, nil)
			events := ""
			emit := func(_, _, format string, args ...any) { events += fmt.Sprintf(format, args...) + "\n" }
			for range 2 {
				got, err := m.Ensure(context.Background(), &corev1.Container{Image: c.name, ImagePullPolicy: c.policy}, nil, emit)
				var failure *Failure
				if errors.As(err, &failure) {
					require.Equal(t, c.want, failure.Reason)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, c.want, got.ID)
				e.pull = c.pull
			}
			require.Equal(t, c.pulls, e.pulls)
			require.Contains(t, events, c.event)
		})
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"app", "app:1", "lib/app:V1.2_3", "localhost:5000/app", "reg.example/a/b@sha256:0123", "a--b__c.d"} {
		require.True(t, valid(name), name)
	}
	for _, name := range []string{"", "App", "app:", "app::1", "a//b", "-app", "app@sha", "app:1 ", "reg.example/"} {
		require.False(t, valid(name), name)
	}
}

func TestReference(t *testing.T) {
	img := runtime.Image{Digests: []string{"other@sha256:1", "app@sha256:2", "who/app@sha256:3", "localhost:5000/app@sha256:4"}}
	for name, want := range map[string]string{
		"app": "docker.io/library/app@sha256:2", "docker.io/library/app:v1": "docker.io/library/app@sha256:2",
		"who/app:latest": "docker.io/who/app@sha256:3", "localhost:5000/app": "localhost:5000/app@sha256:4",
		"localhost:5000/app:v2@sha256:4": "localhost:5000/app@sha256:4", "built": "",
	} {
		require.Equal(t, want, Reference(name, img), name)
	}
}
