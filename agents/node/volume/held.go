package volume

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// heldFile reads a file of a volume as it was last written, or nothing. Whoever has the volume mounted may have changed
// it: nothing outside of the volume is read.
func heldFile(r *request, name string) []byte {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	data, err := root.ReadFile(filepath.Join(dataLink, name))
	if err != nil {
		return nil
	}
	return data
}

// lifeOf is when a token was issued and when it expires, as it says itself; zero when it does not.
func lifeOf(token string) (issued, expiry time.Time) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return issued, expiry
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Iat, Exp int64 }
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp == 0 {
		return issued, expiry
	}
	return time.Unix(claims.Iat, 0), time.Unix(claims.Exp, 0)
}
