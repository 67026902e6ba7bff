package image

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/simulated"
)

// shelf is an engine's images by ID, with their names. A pull of a name brings the image of the same ID.
type shelf struct {
	*simulated.Runtime
	images map[string][]string
	busy   string // the ID that a container uses
}

func (s *shelf) Images(context.Context) ([]runtime.Image, error) {
	var out []runtime.Image
	for id, names := range s.images {
		out = append(out, runtime.Image{ID: id, Names: slices.Clone(names), Size: 10})
	}
	return out, nil
}

func (s *shelf) Image(_ context.Context, ref string) (runtime.Image, error) {
	for id, names := range s.images {
		if id == ref || slices.Contains(names, ref) {
			return runtime.Image{ID: id, Names: slices.Clone(names), Size: 10}, nil
		}
	}
	return runtime.Image{}, runtime.ErrNotFound
}

func (s *shelf) Pull(_ context.Context, ref string, _ *runtime.Credentials) error {
	if !slices.Contains(s.images["id-"+ref], ref) {
		s.images["id-"+ref] = append(s.images["id-"+ref], ref)
	}
	return nil
}

func (s *shelf) RemoveImage(_ context.Context, ref string) error {
	for id, names := range s.images {
		if id != ref && !slices.Contains(names, ref) {
			continue
		}
		if id == s.busy {
			return errors.New("conflict: a container uses it")
		}
		if s.images[id] = slices.DeleteFunc(names, func(n string) bool { return n == ref }); len(s.images[id]) == 0 {
			delete(s.images, id)
		}
		return nil
	}
	return runtime.ErrNotFound
}

func (s *shelf) left() []string {
	var all []string
	for id := range s.images {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// TestCollect pulls images for pods beside those of a developer, who also takes one of the pulled ones over.
func TestCollect(t *testing.T) {
	ctx, file := context.Background(), filepath.Join(t.TempDir(), "images.json")
	engine := &shelf{Runtime: simulated.New(), images: map[string][]string{"mine": {"app:latest"}, "id-reg.example/base:1": {"base:mine"}}, busy: "id-reg.example/running:1"}
	record, err := OpenRecord(file)
	require.NoError(t, err)
	m := New(engine, record)
	for _, name := range []string{"reg.example/old:1", "reg.example/taken:1", "reg.example/base:1", "reg.example/running:1", "reg.example/used:1", "reg.example/new:1"} {
		_, err := m.Ensure(ctx, &corev1.Container{Image: name, ImagePullPolicy: corev1.PullAlways}, nil, func(string, string, string, ...any) {})
		require.NoError(t, err)
	}
	engine.images["id-reg.example/taken:1"] = append(engine.images["id-reg.example/taken:1"], "work:in-progress")

	again, err := OpenRecord(file) // the agent starts anew
	require.NoError(t, err)
	m = New(engine, again)
	inUse := map[string]bool{"id-reg.example/used:1": true}
	removed, freed, err := m.Collect(ctx, 1, inUse, time.Hour)
	require.NoError(t, err)
	require.Empty(t, removed, "all are too young")
	require.Zero(t, freed)

	removed, freed, err = m.Collect(ctx, 5, inUse, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"reg.example/old:1"}, removed, "no more than is needed, the oldest first")
	require.EqualValues(t, 10, freed)

	removed, _, err = m.Collect(ctx, 1000, inUse, 0)
	require.ErrorContains(t, err, "a container uses it")
	require.Equal(t, []string{"reg.example/new:1"}, removed)
	require.Equal(t, []string{"id-reg.example/base:1", "id-reg.example/running:1", "id-reg.example/taken:1", "id-reg.example/used:1", "mine"}, engine.left())
}

func TestWhenImagesAreRemoved(t *testing.T) {
	l := Limits{}.WithDefaults()
	require.Equal(t, Limits{85, 80, 2 * time.Minute}, l)
	require.Zero(t, l.Excess(100, 16))
	require.EqualValues(t, 5, l.Excess(100, 15))
	require.EqualValues(t, 20, l.Excess(100, 0))
	require.Zero(t, Limits{High: 100, Low: 80}.Excess(100, 0))
	require.Zero(t, l.Excess(0, 0))
	require.Error(t, Limits{High: 50}.Validate())
	require.NoError(t, Limits{}.Validate())
	require.NoError(t, Limits{High: 100}.Validate())
}

func TestProgress(t *testing.T) {
	told := 0
	tell := progressOf("app", func(string, string, string, ...any) { told++ })
	tell(1<<20, 2<<20)
	require.Zero(t, told, "a short pull is not worth telling")
	require.Equal(t, "3Mi", size(3<<20+5))
}
