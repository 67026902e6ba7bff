package durability

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
)

// TestLossIsNoticed: what the judges are there for, they find.
func TestLossIsNoticed(t *testing.T) {
	write := porcupine.Operation{Input: input{key: "a", op: opCreate, value: "1"}, Call: 1, Output: output{result: done, value: "1", revision: 5}, Return: 2}
	read := func(result int, value string) porcupine.Operation {
		return porcupine.Operation{Input: input{key: "a", op: opRead}, Call: 3, Output: output{result: result, value: value}, Return: 4}
	}
	for _, test := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"read after write", []porcupine.Operation{write, read(done, "1")}, true},
		{"lost write", []porcupine.Operation{write, read(absent, "")}, false},
		{"value that nobody wrote", []porcupine.Operation{write, read(done, "2")}, false},
	} {
		require.Equal(t, test.want, porcupine.CheckOperations(Model(), test.history), test.name)
	}

	acknowledged := map[int64]change{5: {"a", "1"}, 7: {"a", "2"}}
	first, second := event{watch.Added, 5, "a", "1"}, event{watch.Modified, 7, "a", "2"}
	require.NoError(t, (&Witness{events: []event{first, second}}).Check(acknowledged))
	require.ErrorContains(t, (&Witness{events: []event{first}}).Check(acknowledged), "not seen")
	require.ErrorContains(t, (&Witness{events: []event{first, first, second}}).Check(acknowledged), "repeated")
	require.ErrorContains(t, (&Witness{events: []event{second}}).Check(map[int64]change{}), "missing")
}
