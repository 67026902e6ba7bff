package pause

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Image is the pause program's image: what the engine calls it, and the archive to load it from.
type Image struct {
	// Name holds the digest of the program, so that a newer one never meets an older image under its name.
	Name    string
	Archive []byte
}

// NewImage makes the image for a processor, named as in GOARCH. Equal programs give equal bytes.
func NewImage(arch string) (Image, error) {
	program, err := Program(arch)
	if err != nil {
		return Image{}, err
	}
	layer := archive(file{"pause", program, 0o755})
	config, err := json.Marshal(map[string]any{
		"architecture": arch,
		"os":           "linux",
		"created":      "1970-01-01T00:00:00Z",
		"config":       map[string]any{"Entrypoint": []string{"/pause"}, "Labels": map[string]string{"karve.dev/image": "pause"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
		"history":      []map[string]string{{"created": "1970-01-01T00:00:00Z", "created_by": "karve"}},
	})
	if err != nil {
		return Image{}, fmt.Errorf("describe the pause image: %w", err)
	}
	name := "karve-pause:" + digest(config)[:12]
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return Image{}, fmt.Errorf("describe the pause image: %w", err)
	}
	return Image{Name: name, Archive: archive(
		file{"config.json", config, 0o644}, file{"layer.tar", layer, 0o644}, file{"manifest.json", manifest, 0o644},
	)}, nil
}

type file struct {
	name string
	data []byte
	mode int64
}

func archive(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		// Writing well-formed headers to a buffer cannot fail.
		_ = w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Format: tar.FormatUSTAR})
		_, _ = w.Write(f.data)
	}
	_ = w.Close()
	return b.Bytes()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
