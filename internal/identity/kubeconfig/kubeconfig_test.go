package kubeconfig

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

var entry = Entry{Name: "karve", Server: "https://127.0.0.1:6443", CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key")}

func inDir(t *testing.T) File {
	return File{Path: filepath.Join(t.TempDir(), ".kube", "config"), UID: os.Geteuid(), GID: os.Getegid()}
}

func TestMergeMakesAFileThatKubectlReads(t *testing.T) {
	f := inDir(t)
	require.NoError(t, f.Merge(entry))
	config, err := clientcmd.LoadFromFile(f.Path)
	require.NoError(t, err)
	require.Equal(t, "karve", config.CurrentContext)
	require.Equal(t, entry.Server, config.Clusters["karve"].Server)
	require.Equal(t, []byte("ca"), config.Clusters["karve"].CertificateAuthorityData)
	require.Equal(t, []byte("key"), config.AuthInfos["karve"].ClientKeyData)
	info, err := os.Stat(f.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoFileExists(t, f.Path+".lock")
}

const foreign = `# my clusters
apiVersion: v1
kind: Config
preferences: {}
clusters:
- cluster:
    server: https://example.org # work
    x-unknown: 7
  name: work
contexts:
- context:
    cluster: work
    user: me
  name: work
current-context: work
users:
- name: me
  user:
    token: secret
x-mine:
  anything: [1, 2]
`

func TestMergeAndRemoveLeaveEverythingElse(t *testing.T) {
	f := inDir(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(f.Path), 0o700))
	require.NoError(t, os.WriteFile(f.Path, []byte(foreign), 0o640))
	require.NoError(t, f.Merge(entry))
	config, err := clientcmd.LoadFromFile(f.Path)
	require.NoError(t, err)
	require.Equal(t, "secret", config.AuthInfos["me"].Token)
	require.Equal(t, "karve", config.CurrentContext)

	require.NoError(t, clientcmd.ModifyConfig(&clientcmd.PathOptions{GlobalFile: f.Path, LoadingRules: &clientcmd.ClientConfigLoadingRules{ExplicitPath: f.Path}}, *config, false), "kubectl can change it too")
	require.NoError(t, os.WriteFile(f.Path, []byte(foreign), 0o640))
	require.NoError(t, f.Merge(entry))
	before, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.NoError(t, f.Merge(entry))
	again, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.Equal(t, string(before), string(again), "a second merge changes nothing")

	require.NoError(t, f.Remove("karve"))
	after, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.Equal(t, foreignWithoutCurrent(), string(after))
	info, err := os.Stat(f.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm(), "the mode stays")
}

func foreignWithoutCurrent() string {
	const current = "current-context: work"
	for i := range foreign {
		if i+len(current) <= len(foreign) && foreign[i:i+len(current)] == current {
			return foreign[:i] + `current-context: ""` + foreign[i+len(current):]
		}
	}
	return foreign
}

func TestMergeRenewsItsOwnEntries(t *testing.T) {
	f := inDir(t)
	require.NoError(t, f.Merge(entry))
	data, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	data = append(data, "# the user's note\n"...)
	require.NoError(t, os.WriteFile(f.Path, data, 0o600))
	newer := entry
	newer.Server, newer.Cert = "https://127.0.0.1:7000", []byte("cert2")
	require.NoError(t, f.Merge(newer))
	config, err := clientcmd.LoadFromFile(f.Path)
	require.NoError(t, err)
	require.Len(t, config.Clusters, 1)
	require.Equal(t, newer.Server, config.Clusters["karve"].Server)
	require.Equal(t, []byte("cert2"), config.AuthInfos["karve"].ClientCertificateData)
}

func TestForeignAndBrokenFilesAreLeftAlone(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, f File){
		"not YAML":       func(t *testing.T, f File) { write(t, f.Path, "a: [\n") },
		"another kind":   func(t *testing.T, f File) { write(t, f.Path, "kind: Pod\n") },
		"a list":         func(t *testing.T, f File) { write(t, f.Path, "- a\n") },
		"strange fields": func(t *testing.T, f File) { write(t, f.Path, "clusters: 7\n") },
		"a directory":    func(t *testing.T, f File) { require.NoError(t, os.MkdirAll(f.Path, 0o700)) },
		"somebody else's": func(t *testing.T, f File) {
			write(t, f.Path, foreign)
			if err := os.Chown(f.Path, f.UID+1, f.GID); err != nil {
				t.Skip("needs root")
			}
		},
		"a link to somebody else's": func(t *testing.T, f File) {
			other := filepath.Join(t.TempDir(), "other")
			write(t, other, foreign)
			if err := os.Chown(other, f.UID+1, f.GID); err != nil {
				t.Skip("needs root")
			}
			require.NoError(t, os.Symlink(other, f.Path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := inDir(t)
			require.NoError(t, os.MkdirAll(filepath.Dir(f.Path), 0o700))
			prepare(t, f)
			before, _ := os.ReadFile(f.Path)
			err := f.Merge(entry)
			require.ErrorIs(t, err, ErrLeftAlone)
			require.NotContains(t, err.Error(), "\n")
			t.Log(err)
			after, _ := os.ReadFile(f.Path)
			require.Equal(t, string(before), string(after))
		})
	}
}

func TestUnderSudoTheUserOwnsTheFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const uid, gid = 12345, 12346
	home := t.TempDir()
	require.NoError(t, os.Chown(home, uid, gid))
	f := File{Path: filepath.Join(home, ".kube", "config"), UID: uid, GID: gid}
	require.NoError(t, f.Merge(entry))
	for _, path := range []string{f.Path, filepath.Dir(f.Path)} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, uid, owner(info), path)
	}
	// A user must not lead root elsewhere.
	elsewhere := t.TempDir()
	require.NoError(t, os.RemoveAll(filepath.Dir(f.Path)))
	require.NoError(t, os.Symlink(elsewhere, filepath.Dir(f.Path)))
	require.ErrorIs(t, f.Merge(entry), ErrLeftAlone)
	require.NoFileExists(t, filepath.Join(elsewhere, "config"))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}
