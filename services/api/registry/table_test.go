package registry_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/printers"

	"karve.dev/karve/services/api/registry"
)

var update = flag.Bool("update", false, "write golden files anew")

// objects reads the objects of a YAML file, undefaulted.
func objects(t *testing.T, file string) []registry.Object {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var all []registry.Object
	for docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		var raw map[string]any
		if err := docs.Decode(&raw); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, object(t, raw))
	}
}

// object turns the YAML form of an object into its Go form; unknown fields fail the test.
func object(t *testing.T, raw map[string]any) registry.Object {
	gv, err := schema.ParseGroupVersion(raw["apiVersion"].(string))
	require.NoError(t, err)
	k, ok := registry.Lookup(gv.WithKind(raw["kind"].(string)))
	require.True(t, ok, "%v", raw["kind"])
	obj := k.New()
	require.NoError(t, yaml.UnmarshalStrict([]byte(asJSONString(t, raw)), obj))
	return obj
}

// Tables are printed by kubectl's own printer.
func TestTables(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	var last *registry.Kind
	var table *metav1.Table
	flush := func() {
		if table == nil {
			return
		}
		fmt.Fprintf(&out, "# kubectl get %s -o wide\n", last.Resource)
		require.NoError(t, printers.NewTablePrinter(printers.PrintOptions{Wide: true}).PrintObj(table, &out))
		fmt.Fprintln(&out)
	}
	for _, obj := range objects(t, "testdata/tables.yaml") {
		k, ok := registry.Lookup(obj.GetObjectKind().GroupVersionKind())
		require.True(t, ok)
		if k != last {
			flush()
			last, table = k, &metav1.Table{ColumnDefinitions: k.Columns}
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: k.Cells(obj, now)})
	}
	flush()
	if *update {
		require.NoError(t, os.WriteFile("testdata/tables.txt", out.Bytes(), 0o644))
	}
	want, err := os.ReadFile("testdata/tables.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}
