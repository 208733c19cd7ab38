package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"istio.io/istio/manifests"
)

// schemas are those of Istio's own CRDs, as far as they were asked for.
type schemas map[kubeschema.GroupVersionKind]*schema

type schema struct {
	structure *structuralschema.Structural
	openAPI   validation.SchemaCreateValidator
	rules     *cel.Validator
}

// check says why the API server would not store an object as it is written: a value
// that the CRD's schema or rules forbid, or a field that they do not know. kubectl
// refuses the latter; other clients lose the field in silence.
func (s schemas) check(gvk kubeschema.GroupVersionKind, raw []byte) error {
	one, ok := s[gvk]
	if !ok {
		var err error
		if one, err = load(gvk); err != nil {
			return err
		}
		s[gvk] = one
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	unknown := pruning.PruneWithOptions(runtime.DeepCopyJSON(o), one.structure, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return fmt.Errorf("unknown field %s", strings.Join(unknown, ", "))
	}
	defaulting.Default(o, one.structure)
	errs := validation.ValidateCustomResource(nil, o, one.openAPI)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, one.structure, o)...)
	if len(errs) == 0 {
		found, _ := one.rules.Validate(context.Background(), field.NewPath(""), one.structure, o, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, found...)
	}
	return errs.ToAggregate()
}

func load(gvk kubeschema.GroupVersionKind) (*schema, error) {
	all, err := manifests.FS.ReadFile("charts/base/files/crd-all.gen.yaml")
	if err != nil {
		return nil, err
	}
	docs := kubeyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(all)))
	for {
		doc, err := docs.Read()
		if err == io.EOF {
			return nil, fmt.Errorf("Istio has no CRD for %s", gvk)
		}
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(doc, []byte("    kind: "+gvk.Kind+"\n")) || !bytes.Contains(doc, []byte("  group: "+gvk.Group+"\n")) {
			continue
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(doc, crd); err != nil {
			return nil, err
		}
		for _, v := range crd.Spec.Versions {
			if v.Name == gvk.Version && v.Schema != nil {
				return compile(v.Schema)
			}
		}
		return nil, fmt.Errorf("Istio's CRD for %s has no version %s", gvk.GroupKind(), gvk.Version)
	}
}

func compile(v1 *apiextensionsv1.CustomResourceValidation) (*schema, error) {
	internal := &apiextensions.CustomResourceValidation{}
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v1, internal, nil); err != nil {
		return nil, err
	}
	structure, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	openAPI, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &schema{structure, openAPI, cel.NewValidator(structure, true, celconfig.PerCallLimit)}, nil
}
