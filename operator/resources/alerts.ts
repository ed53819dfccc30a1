// When somebody is called, and what that person reads: what is wrong first, then what to do about it.
import type { ResolvedCluster } from './cluster.ts';
import { DATA_VOLUME } from './pod.ts';

interface Alert {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: 'critical' | 'warning' };
  annotations: { summary: string; description: string };
}

export function alertsOf({ name, namespace, names }: ResolvedCluster): Alert[] {
  const pods = `namespace="${namespace}",service="${names.podService}"`;
  const claims = `${DATA_VOLUME}-${names.statefulSet}-[0-9]+`;
  const volumes = `namespace="${namespace}",persistentvolumeclaim=~"${claims}"`;
  const cluster = `cluster ${namespace}/${name}`;
  return [
    {
      alert: 'FlowMeshDown',
      expr: `up{${pods}} == 0 or flowmesh_up{${pods}} == 0`,
      for: '2m',
      labels: { severity: 'critical' },
      annotations: {
        summary: `A pod of ${cluster} does not answer`,
        description: 'Pod {{ $labels.pod }}: see kubectl describe pod and its log.',
      },
    },
    {
      alert: 'FlowMeshDiskFull',
      expr: `flowmesh_state{${pods},state="disk_full"} == 1`,
      for: '1m',
      labels: { severity: 'critical' },
      annotations: {
        summary: `The volume of a pod of ${cluster} is full: new data is refused`,
        description: 'Raise spec.storage.size, or shorten retention. Reads, acks and deletes go on.',
      },
    },
    {
      alert: 'FlowMeshMemoryFull',
      expr: `flowmesh_state{${pods},state="memory_full"} == 1`,
      for: '5m',
      labels: { severity: 'warning' },
      annotations: {
        summary: `A pod of ${cluster} is near its memory limit: new data is refused`,
        description: 'Raise spec.resources.limits.memory.',
      },
    },
    {
      alert: 'FlowMeshVolumeFilling',
      expr:
        `kubelet_volume_stats_available_bytes{${volumes}} / ` +
        `kubelet_volume_stats_capacity_bytes{${volumes}} < 0.1`,
      for: '5m',
      labels: { severity: 'warning' },
      annotations: {
        summary: `A volume of ${cluster} has less than a tenth left`,
        description: '{{ $labels.persistentvolumeclaim }}: raise spec.storage.size, or shorten retention.',
      },
    },
    {
      alert: 'FlowMeshDeadJobs',
      expr: `increase(flowmesh_queue_dead_total{${pods}}[15m]) > 0`,
      for: '0m',
      labels: { severity: 'warning' },
      annotations: {
        summary: `Jobs of ${cluster} used up their attempts`,
        description: 'Queue {{ $labels.queue }}: look at its dead letters, then redrive them.',
      },
    },
    {
      alert: 'FlowMeshNobodyWorks',
      expr:
        `flowmesh_queue_jobs{${pods},state="waiting"} > 0 and on (pod, queue) ` +
        `flowmesh_queue_workers{${pods}} == 0`,
      for: '15m',
      labels: { severity: 'warning' },
      annotations: {
        summary: `Jobs of ${cluster} wait and no worker is connected`,
        description: 'Queue {{ $labels.queue }}: start or scale its workers.',
      },
    },
  ];
}
