package archive_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/cmd/karve/internal/archive"
)

func write(t testing.TB) []byte {
	var file bytes.Buffer
	w := archive.NewWriter(&file)
	for _, m := range []struct{ name, content string }{{archive.Settings, "{}"}, {archive.Keys + "ca.key", "secret"}, {archive.Objects, "objects"}} {
		member, err := w.Member(m.name)
		require.NoError(t, err)
		_, err = io.WriteString(member, m.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return file.Bytes()
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	file := write(t)
	r, err := archive.Open(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	require.Equal(t, []string{"pki/ca.key"}, r.Names(archive.Keys))
	member, err := r.Member(archive.Objects)
	require.NoError(t, err)
	content, err := io.ReadAll(member)
	require.NoError(t, err)
	require.Equal(t, "objects", string(content))
}

// TestDamageIsFound turns every byte of an archive around: no reader takes it for the content that was written.
func TestDamageIsFound(t *testing.T) {
	good := write(t)
	for i := range good {
		file := bytes.Clone(good)
		file[i] ^= 0xff
		r, err := archive.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			require.ErrorIs(t, err, archive.ErrDamaged)
			continue
		}
		// Some bytes (times, attributes) mean nothing to a reader: the content is whole.
		for name, want := range map[string]string{archive.Settings: "{}", archive.Keys + "ca.key": "secret", archive.Objects: "objects"} {
			member, err := r.Member(name)
			require.NoError(t, err, "byte %d", i)
			content, err := io.ReadAll(member)
			require.NoError(t, err, "byte %d", i)
			require.Equal(t, want, string(content), "byte %d", i)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f))
	f.Fuzz(func(_ *testing.T, file []byte) {
		_, _ = archive.Open(bytes.NewReader(file), int64(len(file)))
	})
}
