package lab

import (
	"strings"
	"testing"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/observe/live"
)

func TestWritten(t *testing.T) {
	rule := &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r"}}
	key := live.ConfigKey{Kind: "DestinationRule", Namespace: "ns", Name: "r"}
	for _, tt := range []struct {
		name, wrote, has string
		says             string
	}{
		{"as written", "99", "99", ""},
		{"a status was written since", "99", "100", ""},
		{"not yet", "100", "99", "DestinationRule ns/r at resourceVersion 99, not 100"},
		{"not there yet", "100", "", `resourceVersion "", not "100"`},
		{"deleted", "", "", ""},
		{"still there", "", "99", `resourceVersion "99", not ""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w pendingWrites
			w.note(rule, tt.wrote)
			w.note(&corev1.ConfigMap{ObjectMeta: rule.ObjectMeta}, "7") // istiod does not read it as configuration
			has := map[live.ConfigKey]string{}
			if tt.has != "" {
				has[key] = tt.has
			}
			got, err := w.missing(has)
			if err != nil || (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
				t.Errorf("%q, %v; want %q", got, err, tt.says)
			}
			if done := len(w.versions) == 0; done != (tt.says == "") {
				t.Errorf("what is left to wait for: %v", w.versions)
			}
		})
	}
	var w pendingWrites
	w.note(rule, "1")
	if _, err := w.missing(map[live.ConfigKey]string{key: "x"}); err == nil {
		t.Error("a resourceVersion that is no number is not refused")
	}
}
