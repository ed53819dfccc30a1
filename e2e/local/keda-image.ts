// Operator and metrics adapter of KEDA in one image, by the names that its manifests start.
import type { Image } from '../../scripts/image/oci.ts';
import { architecture } from '../../scripts/image/platform.ts';
import { KEDA_IMAGE } from '../specs/support/keda.ts';

export const kedaImage = (operator: string, adapter: string): Image => ({
  name: KEDA_IMAGE,
  layers: [{ keda: { from: operator }, 'keda-adapter': { from: adapter } }],
  entrypoint: ['/keda'],
  user: '65532:65532',
  architecture,
});
