#!/bin/sh
# A run by mpirun that goes on when hosts are lost: with those that answer, from the last checkpoint, under a plan for as many
# devices (docs/cluster.md). mpirun itself cannot: MPI ends a job that has lost a rank.
: "${HOSTS:=node1 node2 node3 node4}" # names or addresses for ssh
: "${EACH:=8}"                        # devices, and ranks, of a host
: "${DEVICE:=h100}"                   # of `fathom devices`; cpu
: "${MODEL:=resnet-50 --batch 4096 --dtype f16}"
: "${RUN:=/shared/run}"               # checkpoints and plans: a folder that all hosts see
: "${TRAIN:=--data /shared/imagenet --save-every 500}"
: "${TRIES:=5}"
: "${TIMEOUT:=60}"                    # seconds that ranks wait for each other
: "${SPARE:=10}"                      # beyond that, in which they end and tell why
: "${LOOK:=10}"                       # seconds between two looks at the hosts

answers() { ssh -o BatchMode=yes -o ConnectTimeout=5 "$1" true </dev/null; }

# Ranks that are left end by their own time-out; mpirun would wait for the host.
watch() {
    while sleep "$LOOK" && kill -0 "$1" 2>/dev/null; do
        for host in $2; do
            answers "$host" && continue
            echo "cluster.sh: $host does not answer" >&2
            sleep $((TIMEOUT + SPARE))
            kill -KILL "$1" 2>/dev/null
            return
        done
    done
}

mkdir -p "$RUN" || exit 2
trap 'kill $job $watcher 2>/dev/null; wait $job; exit 130' INT TERM
for try in $(seq "$TRIES"); do
    up= list= count=0
    for host in $HOSTS; do
        answers "$host" && up="$up $host" list="$list,$host:$EACH" count=$((count + EACH))
    done
    [ $count -gt 0 ] || { echo "cluster.sh: no host answers" >&2; exit 1; }
    plan=$RUN/plan-$count.json resume=
    case $DEVICE in cpu) machine=${count}xcpu network= ;; *) machine=${count}x$DEVICE network="--per-node $EACH" ;; esac
    [ -f "$plan" ] || fathom plan $MODEL --gpus $machine $network -o "$plan" || exit
    ls "$RUN"/step-*.safetensors >/dev/null 2>&1 && resume="--resume $RUN"
    echo "cluster.sh: try $try: $count ranks on$up" >&2
    mpirun -n $count -H "${list#,}" --bind-to none fathom train "$plan" --save "$RUN" --timeout "$TIMEOUT" $TRAIN $resume &
    job=$!
    watch $job "$up" &
    watcher=$!
    wait $job
    code=$?
    kill $watcher 2>/dev/null
    [ $code = 0 ] || [ $code = 2 ] && exit $code # done; or a command or a file is wrong
done
exit 1
