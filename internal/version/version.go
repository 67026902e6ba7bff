// Package version says which Karve this is and which Kubernetes it speaks.
package version

import (
	"runtime"
	"strings"

	apiversion "k8s.io/apimachinery/pkg/version"
)

// Kubernetes is the release whose behaviour Karve follows.
const Kubernetes = "v1.37.2"

// build is set by the linker to what git describes.
var build = "dev"

// Build returns the version of this build of Karve.
func Build() string { return build }

// Server is what /version and node statuses show: the Kubernetes release with Karve as its build metadata.
func Server() string { return Kubernetes + "+karve" }

// Info is the answer of /version.
func Info() apiversion.Info {
	commit, dirty := strings.CutSuffix(build, "-dirty")
	state := "clean"
	if dirty {
		state = "dirty"
	}
	return apiversion.Info{
		Major: "1", Minor: "37", GitVersion: Server(), GitCommit: commit, GitTreeState: state, BuildDate: "1970-01-01T00:00:00Z",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}
