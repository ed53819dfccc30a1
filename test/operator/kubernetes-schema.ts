// An object against the OpenAPI schema of Kubernetes, offline: values by the schemas of kubernetes-models,
// names of fields by the models of the client, which are newer and know what does not exist.
import * as models from '@kubernetes/client-node';

interface Model {
  getAttributeTypeMap(): { baseName: string; type: string }[];
}

const CUSTOM: Readonly<Record<string, string>> = {
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'cert-manager.io': '@kubernetes-models/cert-manager',
};

export async function schemaProblems(object: { apiVersion?: string; kind?: string }): Promise<string[]> {
  const { apiVersion = '', kind = '' } = object;
  const [group = '', version = apiVersion] = apiVersion.includes('/') ? apiVersion.split('/') : [''];
  const home = CUSTOM[group] ?? 'kubernetes-models';
  const module = (await import(`${home}/${apiVersion}/${kind}`)) as Record<
    string,
    new (
      data: object,
    ) => { validate(): void }
  >;
  const Model = module[kind];
  if (Model === undefined) throw new Error(`no schema of ${apiVersion} ${kind}`);
  const problems =
    home === 'kubernetes-models' ? unknownFields(object, `V${version.slice(1)}${kind}`, '') : [];
  try {
    new Model(object).validate();
  } catch (error) {
    problems.push(String(error));
  }
  return problems;
}

function unknownFields(value: unknown, type: string, path: string): string[] {
  const list = /^Array<(.*)>$/.exec(type)?.[1];
  if (list !== undefined) {
    return (value as unknown[]).flatMap((entry, index) => unknownFields(entry, list, `${path}.${index}`));
  }
  const known = (models as unknown as Record<string, Partial<Model> | undefined>)[
    type
  ]?.getAttributeTypeMap?.();
  if (known === undefined || typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, field]) => {
    const at = path === '' ? name : `${path}.${name}`;
    const fieldType = known.find(({ baseName }) => baseName === name)?.type;
    return fieldType === undefined
      ? [`${at} is not a field of ${type}`]
      : unknownFields(field, fieldType, at);
  });
}
