"""scikit-learn's logistic regression on the frozen encoder's sentence embeddings.

python benchmarks/peers/embeddings.py docs/messages.csv docs/later.csv MODEL
"""

import sys

import pandas as pd
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

train, test = (pd.read_csv(file) for file in sys.argv[1:3])
encoder = SentenceTransformer(sys.argv[3])
classifier = LogisticRegression(max_iter=1000)
classifier.fit(encoder.encode(train["message"].tolist()), train["kind"])
accuracy = classifier.score(encoder.encode(test["message"].tolist()), test["kind"])
print("accuracy", 100 * accuracy)
