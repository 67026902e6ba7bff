package registry_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/registry"
)

const kindsPage = "../../../docs/kinds.md"

const kindsHead = `# Kinds

Every built-in kind that the API serves, as its discovery tells it: each group version that Kubernetes 1.37 serves by default (it serves no
beta by default). This page is made from the registry: ` + "`go test ./services/api/registry -run KindsPage -update`" + `.

Besides the selectable fields below, every kind that is stored has metadata.name and, where it is namespaced, metadata.namespace. "all" stands for
create, delete, deletecollection, get, list, patch, update and watch.

| group/version | kind | resource | short | scope | verbs | subresources | selectable fields |
|---|---|---|---|---|---|---|---|
`

// TestKindsPage keeps docs/kinds.md true.
func TestKindsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(kindsHead)
	for _, k := range registry.All() {
		page.WriteString(kindRow(k))
	}
	if *update {
		require.NoError(t, os.WriteFile(kindsPage, []byte(page.String()), 0o644))
	}
	have, err := os.ReadFile(kindsPage)
	require.NoError(t, err)
	require.Equal(t, page.String(), string(have), "stale: run this test with -update")
}

func kindRow(k *registry.Kind) string {
	scope, verbs := "cluster", "all"
	if k.Namespaced {
		scope = "namespace"
	}
	if len(k.Verbs) > 0 {
		verbs = strings.Join(k.Verbs, ", ")
	}
	var subs, selectable []string
	if k.PrepareStatus != nil {
		subs = append(subs, "status")
	}
	if k.Scale != nil {
		subs = append(subs, "scale")
	}
	for _, s := range k.Subresources {
		subs = append(subs, s.Name)
	}
	if k.Fields != nil {
		for f := range k.Fields(k.New()) {
			selectable = append(selectable, f)
		}
	}
	slices.Sort(subs)
	slices.Sort(selectable)
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", k.GroupVersion(), k.Kind, k.Resource,
		strings.Join(k.ShortNames, ", "), scope, verbs, strings.Join(subs, ", "), strings.Join(selectable, ", "))
}
