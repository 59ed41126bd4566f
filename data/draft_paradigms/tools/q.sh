# reads lines "name args" from queue file $1
while read -r n rest; do
 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=4000000000 python measure.py $n $rest < /dev/null >> log_$1.txt 2>/dev/null
done < $1
