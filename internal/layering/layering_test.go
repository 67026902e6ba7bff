// Package layering holds the test that imports point one way: cmd → services, agents → internal → gen.
package layering

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "karve.dev/karve/"

// rule forbids imports: packages below any of From must not import packages below any of Never, but for Except.
type rule struct {
	from, never, except []string
	why                 string
}

var rules = []rule{
	{[]string{"gen"}, []string{"internal", "services", "agents", "cmd"}, nil, "generated code knows nothing of the rest"},
	{[]string{"internal"}, []string{"services", "agents", "cmd"}, nil, "internal is what services and agents share: it knows none of them"},
	{[]string{"agents"}, []string{"services", "cmd"}, nil, "agents talk to services over gRPC only"},
	{[]string{"services"}, []string{"agents", "cmd"}, nil, "services talk to agents over gRPC only"},
}

// libraries may be imported only below the packages named.
var libraries = map[string][]string{
	"go.etcd.io/etcd/":               {"services/api/store/etcdstore"},
	"github.com/moby/moby/":          {"agents/node/runtime/docker", "integration", "cmd/karve/internal/engine"},
	"github.com/mqliang/libipvs":     {"agents/proxy/dataplane/ipvs"},
	"github.com/google/nftables":     {"agents/proxy/dataplane/nftables", "agents/node/network"},
	"github.com/vishvananda/netlink": {"agents/proxy/dataplane", "agents/node/network"},
	"k8s.io/kubectl":                 {"cmd/karve"},
	"k8s.io/apiextensions-apiserver": {"services/api/extension", "services/api/registry"},
	"k8s.io/kubernetes":              {},
	// What CustomResourceDefinitions' rules may cost, and what of an object is as before, is told in types of the CEL
	// library; audit policies and settings of authentication are files of its types. The expressions of webhooks and
	// policies are compiled, evaluated and charged by its admission/plugin/cel. Nothing of the server.
	"k8s.io/apiserver": {"services/api/extension/schema", "services/api/audit", "services/api/authn/oidc", "services/api/admission/expression", "services/api/admission/policy"},
}

type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		check(t, p)
	}
}

func check(t *testing.T, p pkg) {
	self := strings.TrimPrefix(p.ImportPath, module)
	for _, imp := range p.Imports {
		if why := forbidden(self, strings.TrimPrefix(imp, module), imp); why != "" {
			t.Errorf("%s imports %s: %s", self, imp, why)
		}
	}
}

func forbidden(self, target, imp string) string {
	for _, r := range rules {
		if under(self, r.from) && under(target, r.never) && !under(target, r.except) {
			return r.why
		}
	}
	if a, b := service(self), service(target); a != "" && b != "" && a != b {
		return "a service never imports another: it writes objects and the others watch"
	}
	for lib, homes := range libraries {
		if strings.HasPrefix(imp, lib) && !under(self, homes) {
			return "this library is used only in " + strings.Join(homes, ", ")
		}
	}
	return ""
}

// service returns "services/x" for packages of service x.
func service(path string) string {
	parts := strings.SplitN(path, "/", 3)
	if len(parts) < 2 || parts[0] != "services" {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

func under(path string, roots []string) bool {
	for _, r := range roots {
		if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}
